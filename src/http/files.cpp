// What: files as responses: ranges, validators, and nothing outside of a directory.
// Threads: the handler's task; system calls that touch the file system run on the default executor.
// Rejected: checking the resolved path as a text (a symbolic link may change between the check and the open):
//   the kernel resolves it beneath the directory (openat2), and where it cannot, links are not followed.
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <limits>
#include <memory>
#include <optional>
#include <system_error>

#include "fibrio/fibrio.hpp"
#include "fibrio/http/server.hpp"
#include "http/request_access.hpp"
#include "http/server_state.hpp"
#include "http/text.hpp"

namespace fibrio::http {

namespace {

// Read at once; if they are not in the page cache, with a trip to the executor.
constexpr std::size_t kBlock = 64 * 1024;
// A file up to this size comes with the trip that opens it.
constexpr std::uint64_t kSmallFile = 64 * 1024;

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  const int fd_;
};
using SharedFd = std::shared_ptr<Fd>;

struct File {
  SharedFd fd;                // none: it cannot be served
  bool is_folder = false;     // then there is nothing else
  bool has_shortage = false;  // of fds or memory: it may be there all the same
  std::uint64_t size = 0;
  std::int64_t modified = 0;
  std::string etag;
  std::string content;  // of a small one
};

struct Range {
  std::uint64_t begin;
  std::uint64_t length;
};

struct Type {
  std::string_view ending;
  std::string_view type;
};
constexpr std::array<Type, 21> kTypes = {{{".html", "text/html; charset=utf-8"},
                                          {".htm", "text/html; charset=utf-8"},
                                          {".css", "text/css; charset=utf-8"},
                                          {".js", "text/javascript; charset=utf-8"},
                                          {".mjs", "text/javascript; charset=utf-8"},
                                          {".txt", "text/plain; charset=utf-8"},
                                          {".md", "text/markdown; charset=utf-8"},
                                          {".csv", "text/csv; charset=utf-8"},
                                          {".xml", "application/xml"},
                                          {".json", "application/json"},
                                          {".wasm", "application/wasm"},
                                          {".pdf", "application/pdf"},
                                          {".zip", "application/zip"},
                                          {".gz", "application/gzip"},
                                          {".png", "image/png"},
                                          {".jpg", "image/jpeg"},
                                          {".jpeg", "image/jpeg"},
                                          {".gif", "image/gif"},
                                          {".svg", "image/svg+xml"},
                                          {".webp", "image/webp"},
                                          {".ico", "image/vnd.microsoft.icon"}}};

std::string_view type_of(std::string_view path) {
  for (const Type& type : kTypes) {
    if (path.size() >= type.ending.size() &&
        equals_without_case(path.substr(path.size() - type.ending.size()), type.ending)) {
      return type.type;
    }
  }
  return "application/octet-stream";
}

std::size_t read_at(int fd, std::uint64_t offset, char* place, std::size_t size) {
  std::size_t filled = 0;
  while (filled < size) {
    const ssize_t count = ::pread(fd, place + filled, size - filled, static_cast<off_t>(offset + filled));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw std::system_error(errno, std::system_category(), "pread");
    if (count == 0) break;
    filled += static_cast<std::size_t>(count);
  }
  return filled;
}

// What the page cache has of it, without a wait for the disk; 0: nothing, or nobody can tell.
std::size_t read_cached(int fd, std::uint64_t offset, char* place, std::size_t size) {
  const iovec part{place, size};
  const ssize_t count = ::preadv2(fd, &part, 1, static_cast<off_t>(offset), RWF_NOWAIT);
  return count > 0 ? static_cast<std::size_t>(count) : 0;
}

std::string hex(std::uint64_t number) {
  char digits[16];
  return {digits, std::to_chars(digits, digits + sizeof digits, number, 16).ptr};
}

// Blocks: for the executor. `opened`: a fd, or -1 with errno.
File examine(int opened) {
  File file;
  struct stat status {};
  const int error = opened < 0 || ::fstat(opened, &status) != 0 ? errno : 0;
  auto fd = std::make_shared<Fd>(opened);
  file.has_shortage = error == EMFILE || error == ENFILE || error == ENOMEM;
  if (error != 0) return file;
  file.is_folder = S_ISDIR(status.st_mode);
  if (!S_ISREG(status.st_mode)) return file;
  file.size = static_cast<std::uint64_t>(status.st_size);
  file.modified = status.st_mtim.tv_sec;
  file.etag = '"' + hex(static_cast<std::uint64_t>(status.st_mtim.tv_sec)) + '.' +
              hex(static_cast<std::uint64_t>(status.st_mtim.tv_nsec)) + '-' + hex(file.size) + '"';
  if (file.size <= kSmallFile) {
    file.content.resize(static_cast<std::size_t>(file.size));
    // It may have been cut since: then its length is what was there.
    file.content.resize(read_at(opened, 0, file.content.data(), file.content.size()));
    file.size = file.content.size();
  }
  file.fd = std::move(fd);
  return file;
}

// Not blocking on a pipe that lies there; opened like this, a regular file is as any.
constexpr int kOpen = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

// Returns -1 with errno if it cannot.
int open_beneath(int directory, const std::string& path) {
  open_how how{};
  how.flags = kOpen;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  for (;;) {
    const long fd = ::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how);
    if (fd >= 0) return static_cast<int>(fd);
    if (errno == EINTR || errno == EAGAIN) continue;  // EAGAIN: something was renamed meanwhile
    if (errno != ENOSYS && errno != EPERM && errno != EINVAL && errno != E2BIG) return -1;
    break;
  }
  // An old kernel, or a sandbox that knows no openat2: step by step, and no links.
  int at = ::fcntl(directory, F_DUPFD_CLOEXEC, 0);
  for (std::string_view rest = path; at >= 0 && !rest.empty();) {
    const std::string name(rest.substr(0, rest.find('/')));
    rest.remove_prefix(std::min(rest.size(), name.size() + 1));
    const int next = ::openat(at, name.c_str(), kOpen | O_NOFOLLOW | (rest.empty() ? 0 : O_DIRECTORY));
    const int error = errno;
    ::close(at);
    errno = error;
    at = next;
  }
  return at;
}

// The path below a directory, or nothing for one that no file has.
std::optional<std::string> clean_path(std::string_view path) {
  if (path.find('\0') != std::string_view::npos) return std::nullopt;
  std::string clean;
  bool is_folder = path.empty();
  for (std::string_view rest = path; !rest.empty();) {
    const std::string_view segment = rest.substr(0, rest.find('/'));
    is_folder = segment.size() < rest.size() && segment.size() + 1 == rest.size();
    rest.remove_prefix(std::min(rest.size(), segment.size() + 1));
    if (segment.empty() || segment == "." || segment == "..") return std::nullopt;
    if (!clean.empty()) clean += '/';
    clean += segment;
  }
  if (is_folder) clean += clean.empty() ? "index.html" : "/index.html";
  return clean;
}

// Whether a parameter of the route is more than names below a folder: "..", ".", or an empty name but for the last.
bool leads_elsewhere(std::string_view parameter) {
  for (std::string_view rest = parameter; !rest.empty();) {
    const std::string_view name = rest.substr(0, rest.find('/'));
    rest.remove_prefix(std::min(rest.size(), name.size() + 1));
    if (name.empty() || name == "." || name == "..") return true;
  }
  return false;
}

// Whether the path leads elsewhere than its handler meant: past a zero, where the system would end it; up, but for
// where it begins, which may well be the handler's own; or by a parameter, past what middleware has allowed.
bool is_led_astray(const Request& request, std::string_view path) {
  if (path.find('\0') != std::string_view::npos) return true;
  bool is_begin = true;
  for (std::string_view rest = path; !rest.empty();) {
    const std::string_view name = rest.substr(0, rest.find('/'));
    rest.remove_prefix(std::min(rest.size(), name.size() + 1));
    if (name == ".." && !is_begin) return true;
    is_begin = is_begin && name == "..";
  }
  const auto& parameters = detail::RequestAccess::parameters(request);
  return std::any_of(parameters.begin(), parameters.end(), [path](const auto& parameter) {
    return leads_elsewhere(parameter.second) && path.find(parameter.second) != std::string_view::npos;
  });
}

enum class RangeKind { kAll, kPart, kUnsatisfiable };

// A position; one that does not fit lies behind every file.
std::optional<std::uint64_t> parse_position(std::string_view digits) {
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  return parse_number(digits).value_or(std::numeric_limits<std::uint64_t>::max());
}

// One range; several are answered with the whole, as RFC 9110 (14.2) allows.
RangeKind parse_range(std::string_view field, std::uint64_t size, Range& range) {
  constexpr std::string_view kUnit = "bytes=";
  if (field.size() < kUnit.size() || !equals_without_case(field.substr(0, kUnit.size()), kUnit)) {
    return RangeKind::kAll;
  }
  const std::string_view text = trim(field.substr(kUnit.size()));
  const std::size_t dash = text.find('-');
  if (dash == std::string_view::npos || text.find(',') != std::string_view::npos) return RangeKind::kAll;
  const std::string_view from = text.substr(0, dash);
  const std::string_view to = text.substr(dash + 1);
  const auto first = parse_position(from);
  const auto last = parse_position(to);
  if (from.empty()) {  // the last so many bytes
    if (!last) return RangeKind::kAll;
    if (*last == 0 || size == 0) return RangeKind::kUnsatisfiable;
    range.length = std::min(*last, size);
    range.begin = size - range.length;
    return RangeKind::kPart;
  }
  if (!first || (!last && !to.empty()) || (last && *last < *first)) return RangeKind::kAll;
  if (*first >= size) return RangeKind::kUnsatisfiable;
  range.begin = *first;
  range.length = (last ? std::min(*last, size - 1) : size - 1) - *first + 1;
  return RangeKind::kPart;
}

enum class Comparison { kWeak, kStrong };

// Whether the lists in all fields of that name have the tag; nothing if there is no such field.
std::optional<bool> lists_etag(const Request& request, std::string_view name, std::string_view etag,
                               Comparison comparison) {
  std::optional<bool> has_it;
  for (const Fields::Field& field : request.fields()) {
    if (!equals_without_case(field.name, name)) continue;
    has_it = has_it.value_or(false);
    for (std::string_view list = field.value; !list.empty();) {
      std::string_view item = take_item(list, ',');
      if (comparison == Comparison::kWeak && item.starts_with("W/")) item.remove_prefix(2);
      if (item == etag || item == "*") has_it = true;
    }
  }
  return has_it;
}

// What RFC 9110 (13.2.2) answers instead of the file, in its order: 412, 304, or 0 for none.
unsigned status_of_conditions(const Request& request, const File& file) {
  if (const auto is_one_of = lists_etag(request, "If-Match", file.etag, Comparison::kStrong)) {
    if (!*is_one_of) return 412;
  } else if (const auto date = parse_date(request.field("If-Unmodified-Since"));
             date && file.modified > *date) {
    return 412;
  }
  if (const auto is_one_of = lists_etag(request, "If-None-Match", file.etag, Comparison::kWeak)) {
    return *is_one_of ? 304 : 0;
  }
  const auto since = parse_date(request.field("If-Modified-Since"));
  return since && file.modified <= *since ? 304 : 0;
}

// Whether a Range counts: with an If-Range only if the file is still the one that the client has a part of.
bool wants_range(const Request& request, const File& file) {
  const std::string_view condition = request.field("If-Range");
  return condition.empty() || condition == file.etag || parse_date(condition) == file.modified;
}

Response respond(const Request& request, File file, std::string_view path) {
  if (file.fd == nullptr) return error_response(file.has_shortage ? 503 : 404);
  Response response;
  response.fields.add("Last-Modified", format_date(file.modified));
  response.fields.add("ETag", file.etag);
  response.fields.add("Accept-Ranges", "bytes");
  if (const unsigned status = status_of_conditions(request, file); status != 0) {
    if (status == 412) return error_response(412);
    response.status = status;
    return response;
  }
  Range range{0, file.size};
  // Of GET alone (RFC 9110, 14.2).
  if (request.method() == "GET" && request.fields().contains("Range") && wants_range(request, file)) {
    switch (parse_range(request.field("Range"), file.size, range)) {
      case RangeKind::kAll:
        break;
      case RangeKind::kPart:
        response.status = 206;
        response.fields.add("Content-Range", "bytes " + std::to_string(range.begin) + '-' +
                                                 std::to_string(range.begin + range.length - 1) + '/' +
                                                 std::to_string(file.size));
        break;
      case RangeKind::kUnsatisfiable:
        response = error_response(416);
        response.fields.add("Content-Range", "bytes */" + std::to_string(file.size));
        return response;
    }
  }
  response.fields.add("Content-Type", type_of(path));
  if (file.size <= kSmallFile) {
    response.body = std::move(file.content);
    if (range.length < response.body.size()) {
      response.body =
          response.body.substr(static_cast<std::size_t>(range.begin), static_cast<std::size_t>(range.length));
    }
  } else {
    response.stream_length = range.length;
    // If it was cut meanwhile, the stream is shorter than it was to be, which ends the connection.
    response.stream = [fd = std::move(file.fd), range](BodyWriter& out) {
      out.send_file(fd->get(), range.begin, range.length);
    };
  }
  return response;
}

// So that links within its index.html lead below it.
Response redirect_to_folder(const Request& request) {
  Response response = error_response(301);
  std::string location = std::string(detail::RequestAccess::raw_path(request)) + '/';
  if (!request.query().empty()) location.append("?").append(request.query());
  response.fields.add("Location", location);
  return response;
}

}  // namespace

std::uint64_t BodyWriter::send_file(int file, std::uint64_t offset, std::uint64_t count) {
  // Shared with the thread, which goes on if this task is cancelled: also the file, whose owner may then
  // close it.
  const auto fd = std::make_shared<Fd>(::fcntl(file, F_DUPFD_CLOEXEC, 0));
  if (fd->get() < 0) throw std::system_error(errno, std::system_category(), "fcntl(F_DUPFD_CLOEXEC)");
  const auto block = std::make_shared_for_overwrite<char[]>(kBlock);
  std::uint64_t sent = 0;
  while (sent < count) {
    const std::uint64_t at = offset + sent;
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(count - sent, kBlock));
    std::size_t found = read_cached(fd->get(), at, block.get(), wanted);
    if (found == 0)
      found = to_thread([fd, block, at, wanted] { return read_at(fd->get(), at, block.get(), wanted); });
    if (found == 0) break;
    write(std::string_view(block.get(), found));
    sent += found;
  }
  return sent;
}

Response file_response(const Request& request, const std::string& path) {
  if (is_led_astray(request, path)) return error_response(404);
  return respond(request, to_thread([path] { return examine(::open(path.c_str(), kOpen)); }), path);
}

void Server::files(std::string_view prefix, const std::string& directory) {
  const auto folder = std::make_shared<Fd>(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder->get() < 0) throw std::system_error(errno, std::system_category(), "open " + directory);
  if (prefix.ends_with('/')) prefix.remove_suffix(1);
  if (!prefix.empty()) state_->router.add_last(std::string(prefix), redirect_to_folder);
  route("GET", std::string(prefix) + "/{path*}", [folder](Request& request) {
    const std::optional<std::string> path = clean_path(request.parameter("path"));
    if (!path) return error_response(404);
    // The task may be cancelled while the thread still works: it has its own copy of all.
    File file = to_thread([folder, path = *path] { return examine(open_beneath(folder->get(), path)); });
    if (file.is_folder) return redirect_to_folder(request);
    return respond(request, std::move(file), *path);
  });
}

}  // namespace fibrio::http

#include "http/websocket_frame.hpp"

#include <sys/random.h>

#include <boost/beast/core/detail/base64.hpp>
#include <boost/beast/core/detail/sha1.hpp>
#include <cerrno>
#include <fstream>
#include <system_error>

#include "fibrio/http/websocket.hpp"

namespace fibrio::http {

namespace {

namespace beast = boost::beast::detail;

constexpr std::size_t kKeyBytes = 16;
constexpr std::uint8_t kFinal = 0x80;
constexpr std::uint8_t kReserved = 0x70;
constexpr std::uint8_t kMasked = 0x80;

[[noreturn]] void fail_frame(const char* what) {
  throw WebSocketError(1002, std::string("websocket: ") + what);
}

std::string base64(std::span<const char> bytes) {
  std::string text(beast::base64::encoded_size(bytes.size()), '\0');
  text.resize(beast::base64::encode(text.data(), bytes.data(), bytes.size()));
  return text;
}

}  // namespace

FrameHeader parse_frame_header(std::span<const char> input, std::size_t& used) {
  used = 0;
  FrameHeader header;
  if (input.size() < 2) return header;
  const auto byte = [&input](std::size_t i) { return static_cast<std::uint8_t>(input[i]); };
  if ((byte(0) & kReserved) != 0) fail_frame("a reserved bit is set");
  header.is_final = (byte(0) & kFinal) != 0;
  header.opcode = static_cast<Opcode>(byte(0) & 0x0f);
  switch (header.opcode) {
    case Opcode::kContinuation:
    case Opcode::kText:
    case Opcode::kBinary:
    case Opcode::kClose:
    case Opcode::kPing:
    case Opcode::kPong:
      break;
    default:
      fail_frame("an unknown opcode");
  }
  header.length = byte(1) & 0x7f;
  const std::size_t extra = header.length == 126 ? 2 : header.length == 127 ? 8 : 0;
  const bool is_masked = (byte(1) & kMasked) != 0;
  if (header.is_control() && (extra > 0 || !header.is_final))
    fail_frame("a control frame that is long or in pieces");
  const std::size_t size = 2 + extra + (is_masked ? 4 : 0);
  if (input.size() < size) return header;
  if (extra > 0) {
    header.length = 0;
    for (std::size_t i = 0; i < extra; ++i) header.length = header.length << 8 | byte(2 + i);
    if (header.length < (extra == 2 ? 126U : 65'536U) || header.length >> 63 != 0)
      fail_frame("a length that is not minimal");
  }
  if (is_masked) {
    header.mask.emplace();
    for (std::size_t i = 0; i < 4; ++i) (*header.mask)[i] = input[2 + extra + i];
  }
  used = size;
  return header;
}

std::string make_frame_header(const FrameHeader& header) {
  std::string bytes;
  bytes += static_cast<char>((header.is_final ? kFinal : 0) | static_cast<std::uint8_t>(header.opcode));
  const std::uint8_t masked = header.mask ? kMasked : 0;
  const std::size_t extra = header.length < 126 ? 0 : header.length < 65'536 ? 2 : 8;
  bytes += static_cast<char>(masked | (extra == 0 ? header.length : extra == 2 ? 126 : 127));
  for (std::size_t i = extra; i > 0; --i) bytes += static_cast<char>(header.length >> (8 * (i - 1)) & 0xff);
  if (header.mask) bytes.append(header.mask->data(), header.mask->size());
  return bytes;
}

void apply_mask(std::span<char> data, const std::array<char, 4>& mask, std::uint64_t at) noexcept {
  std::array<char, 4> turned;
  for (std::size_t i = 0; i < 4; ++i) turned[i] = mask[(i + at) % 4];
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(data[i] ^ turned[i % 4]);
}

bool is_utf8(std::string_view text) noexcept {
  const auto byte = [&text](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  for (std::size_t i = 0; i < text.size();) {
    const std::uint8_t first = byte(i);
    if (first < 0x80) {
      ++i;
      continue;
    }
    const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || i + length > text.size()) return false;
    std::uint32_t point = first & (0xffU >> (length + 1));
    for (std::size_t k = 1; k < length; ++k) {
      if ((byte(i + k) & 0xc0) != 0x80) return false;
      point = point << 6 | (byte(i + k) & 0x3fU);
    }
    constexpr std::array<std::uint32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
    if (point < kLeast[length] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return false;
    i += length;
  }
  return true;
}

bool is_close_code(std::uint16_t code) noexcept {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

std::string accept_of(std::string_view key) {
  constexpr std::string_view kGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";  // RFC 6455, 1.3
  beast::sha1_context context;
  beast::init(context);
  beast::update(context, key.data(), key.size());
  beast::update(context, kGuid.data(), kGuid.size());
  std::array<char, beast::sha1_context::digest_size> digest;
  beast::finish(context, digest.data());
  return base64(digest);
}

std::string make_key() {
  std::array<char, kKeyBytes> bytes;
  fill_random(bytes);
  return base64(bytes);
}

bool is_key(std::string_view text) {
  if (text.size() != beast::base64::encoded_size(kKeyBytes) || !text.ends_with("==")) return false;
  std::array<char, kKeyBytes + 2> bytes;
  const auto [written, read] = beast::base64::decode(bytes.data(), text.data(), text.size());
  return written == kKeyBytes && read >= text.size() - 2;
}

// Not inline: errno must not be kept over a wait of who calls.
[[gnu::noinline]] void fill_random(std::span<char> bytes) {
  for (;;) {  // so few bytes come as a whole
    if (::getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size())) return;
    const int error = errno;
    if (error == EINTR) continue;
    // Refused by a filter: the file gives the same.
    std::ifstream file("/dev/urandom", std::ios::binary);
    if (file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) return;
    throw std::system_error(error, std::system_category(), "getrandom");
  }
}

}  // namespace fibrio::http

// Load for HTTP servers (W17, W18 and W19): C clients, each with one GET under way (a closed loop), for S seconds after
// half a second of warming up, which begins when each has had an answer. Of every answer status and body are checked.
//
//   web_load --port P --path /kib --body FILE [--connections 64] [--seconds 5] [--pid SERVER]
//            [--tls CERTIFICATE [--handshake once|full|resumed]]
//
// --tls: TLS 1.3 with AES-128-GCM and X25519, and this certificate only. --handshake: `full` and `resumed` make a
// connection for each request, resumed by the ticket of the one before; latency then counts from the connect on.
// Prints a JSON object in one line: answers per second, latency in us (each within 1.6 %), errors, and with --pid the
// CPU time that the server and its children took per answer, in us. A good server costs less than this generator:
// give it a core of its own, and look at the server's CPU time rather than at answers per second.
#include <csignal>
#include <exception>
#include <iterator>
#include <utility>

#include "../arguments.hpp"
#include "web_client.hpp"

namespace {

using load::Clock;
using load::Handshake;
using load::WebClient;

constexpr auto kWarmUp = std::chrono::milliseconds(500);
constexpr auto kFirstAnswers = std::chrono::seconds(20);
// A server with more of them is not worth measuring.
constexpr unsigned kMaxErrors = 100;

struct Options {
  load::WebTask task;
  std::string path;
  std::string body;
  std::string certificate;
  std::size_t connections = 64;
  double seconds = 5;
  int pid = 0;
};

Options parse(bench::Arguments& arguments) {
  Options options;
  while (arguments.next()) {
    if (arguments.is("--port")) {
      options.task.port = arguments.value<std::uint16_t>(1, UINT16_MAX);
    } else if (arguments.is("--pid")) {
      options.pid = arguments.value<int>(1, INT32_MAX);
    } else if (arguments.is("--connections")) {
      options.connections = arguments.value<std::size_t>(1, 100'000);
    } else if (arguments.is("--seconds")) {
      options.seconds = arguments.value<double>(0.01, 3600);
    } else if (arguments.is("--path")) {
      options.path = arguments.value();
    } else if (arguments.is("--body")) {
      options.body = arguments.value();
    } else if (arguments.is("--tls")) {
      options.certificate = arguments.value();
    } else if (arguments.is("--handshake")) {
      const std::string_view name = arguments.value();
      if (name != "once" && name != "full" && name != "resumed") {
        arguments.refuse("--handshake: once, full or resumed");
      }
      options.task.handshake = name == "once"   ? Handshake::once
                               : name == "full" ? Handshake::full
                                                : Handshake::resumed;
    } else {
      arguments.refuse_unknown();
    }
  }
  if (options.task.port == 0 || options.path.empty() || options.body.empty()) {
    arguments.refuse("--port, --path and --body are needed");
  }
  if (options.task.handshake != Handshake::once && options.certificate.empty()) {
    arguments.refuse("--handshake: without --tls there is none");
  }
  std::ifstream file(options.body, std::ios::binary);
  if (!file) arguments.refuse("--body: cannot read " + options.body);
  options.task.body.assign(std::istreambuf_iterator<char>(file), {});
  options.task.request = "GET " + options.path + " HTTP/1.1\r\nHost: localhost\r\n" +
                         (options.task.handshake == Handshake::once ? "\r\n" : "Connection: close\r\n\r\n");
  return options;
}

SSL_CTX* make_context(const Options& options, const bench::Arguments& arguments) {
  if (options.certificate.empty()) return nullptr;
  SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  if (SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") != 1 ||
      SSL_CTX_set1_groups_list(context, "X25519") != 1 ||
      SSL_CTX_load_verify_locations(context, options.certificate.c_str(), nullptr) != 1) {
    arguments.refuse("--tls: OpenSSL does not take " + options.certificate);
  }
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context, &WebClient::on_session);
  return context;
}

class WebLoad {
 public:
  explicit WebLoad(const Options& options) : options_(options) {
    for (std::size_t i = 0; i < options.connections; ++i) {
      clients_.push_back(std::make_unique<WebClient>(options_.task));
    }
  }

  int run() {
    const auto seconds = std::chrono::duration<double>(options_.seconds);
    Clock::time_point now = Clock::now();
    start_ = end_ = now + kFirstAnswers;
    for (const auto& client : clients_) open(*client);
    std::vector<epoll_event> events(512);
    while (now < end_ && open_ > 0 && errors_ < kMaxErrors) {
      const int count =
          ::epoll_wait(options_.task.epoll, events.data(), static_cast<int>(events.size()), 100);
      for (int i = 0; i < count; ++i) advance(*static_cast<WebClient*>(events[i].data.ptr));
      now = Clock::now();
      if (!is_warming_ && first_answers_ >= clients_.size()) {
        is_warming_ = true;
        start_ = now + kWarmUp;
        end_ = start_ + std::chrono::duration_cast<Clock::duration>(seconds);
      }
      if (is_warming_ && !is_measuring_ && now >= start_) {
        is_measuring_ = true;
        cpu_before_ = options_.pid > 0 ? load::cpu_ns(options_.pid) : 0;
        start_ = now;
      }
    }
    if (!is_measuring_) {
      std::fprintf(stderr, "%zu of %zu clients had an answer, %u errors\n", first_answers_, clients_.size(),
                   errors_);
      return 1;
    }
    print(now);
    return errors_ == 0 && latency_.total() > 0 ? 0 : 1;
  }

 private:
  // Each error is one; with a connection per request the client then begins anew.
  void open(WebClient& client) {
    while (errors_ < kMaxErrors) {
      try {
        client.open();
        return;
      } catch (const std::runtime_error& error) {
        fail(client, error);
      }
    }
  }

  void fail(WebClient& client, const std::runtime_error& error) {
    if (errors_++ == 0) std::fprintf(stderr, "%s\n", error.what());
    client.close();
  }

  void advance(WebClient& client) {
    if (!client.is_open()) return;
    try {
      client.advance([&](Clock::duration time) {
        if (!std::exchange(client.has_answered, true)) ++first_answers_;
        if (is_measuring_) latency_.add(time);
      });
    } catch (const std::runtime_error& error) {
      fail(client, error);
      if (options_.task.handshake == Handshake::once) {
        --open_;
      } else {
        open(client);
      }
    }
  }

  void print(Clock::time_point now) const {
    const double cpu_us =
        options_.pid > 0 ? static_cast<double>(load::cpu_ns(options_.pid) - cpu_before_) / 1000 : 0;
    const auto answers = static_cast<double>(latency_.total());
    std::printf("{\"requests_per_s\": %.1f, ", answers / std::chrono::duration<double>(now - start_).count());
    latency_.print("");
    std::printf(", \"errors\": %u", errors_);
    if (options_.pid > 0 && answers > 0) std::printf(", \"server_cpu_us\": %.4f", cpu_us / answers);
    std::printf("}\n");
  }

  const Options& options_;
  std::vector<std::unique_ptr<WebClient>> clients_;
  std::size_t open_ = options_.connections;
  load::Histogram latency_;
  Clock::time_point start_, end_;
  bool is_warming_ = false;
  bool is_measuring_ = false;
  std::uint64_t cpu_before_ = 0;
  std::size_t first_answers_ = 0;
  unsigned errors_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  bench::Arguments arguments(
      argc, argv,
      "web_load --port P --path /kib --body FILE [--connections 64] [--seconds 5] [--pid SERVER]\n"
      "                [--tls CERTIFICATE [--handshake once|full|resumed]]");
  Options options = parse(arguments);
  options.task.tls = make_context(options, arguments);
  options.task.epoll = ::epoll_create1(EPOLL_CLOEXEC);
  std::signal(SIGPIPE, SIG_IGN);
  const int status = WebLoad(options).run();
  SSL_CTX_free(options.task.tls);
  return status;
}

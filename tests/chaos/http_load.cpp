#include "chaos/http_load.hpp"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "chaos/handlers.hpp"
#include "chaos/message.hpp"
#include "fibrio/fibrio.hpp"
#include "fibrio/http/server.hpp"
#include "fibrio/http/session.hpp"

namespace fibrio::chaos {

namespace {

using namespace std::chrono_literals;

// Longer than anything that is not stuck.
constexpr Duration kPatience = 60s;

std::string hex(std::size_t number) {
  char digits[16];
  return {digits, std::to_chars(digits, digits + sizeof digits, number, 16).ptr};
}

// Writes data in pieces that depend on the request.
void write_in_pieces(http::BodyWriter& out, std::uint64_t id, std::string_view data) {
  Random random(id, 0x706965636573);
  while (!data.empty()) {
    const std::string_view piece = data.substr(0, random.any_size(8192));
    out.write(piece);
    if (random.one_in(4)) out.flush();
    data.remove_prefix(piece.size());
  }
}

class Run {
 public:
  Run(const HttpLoad& load, Ledger& ledger) : load_(load), ledger_(ledger) {}

  ProxyCounts operator()() {
    http::Server server(server_options());
    for (const char* method : {"GET", "POST", "PUT"}) {
      server.route(method, "/{id}", [this](http::Request& request) { return answer(request); });
    }
    server.listen(Address::parse("127.0.0.1", 0));
    auto serving = create_task([&] { server.serve(); });
    auto closing_server = start_closing_server();
    Proxy proxy(server.addresses()[0].port(), load_.faults);
    Proxy closing_proxy(closing_server.sockets()[0].port(), load_.faults);
    port_ = proxy.port();
    closing_port_ = closing_proxy.port();
    run_clients();
    server.shutdown(kPatience);
    await(serving);
    closing_server.close();
    closing_server.wait_closed();
    closing_handlers_.wait_until_none();
    proxy.wait_closed();
    closing_proxy.wait_closed();
    if (server.stats().connections != 0) ledger_.violation("connections of the server are left");
    if (server.stats().dropped != 0) ledger_.violation("requests were still being handled at the end");
    ledger_.settle(load_.faults.seed);
    ProxyCounts counts = proxy.counts();
    return counts += closing_proxy.counts();
  }

 private:
  [[nodiscard]] http::ServerOptions server_options() const {
    http::ServerOptions options;
    if (!load_.pauses_are_long) {  // nobody else's timeout shall save who is stuck
      options.header_timeout = options.body_timeout = options.idle_timeout = options.write_timeout = 1h;
    }
    if (load_.accept) {
      options.make_stream = [this](TcpStream stream) {
        return load_.accept(make_byte_stream(std::move(stream)));
      };
    }
    return options;
  }
  [[nodiscard]] http::SessionOptions session_options() const {
    http::SessionOptions options;
    options.timeout = kPatience;
    // Fewer than there are tasks, so that some wait for a place.
    options.max_connections = static_cast<std::size_t>(load_.session_tasks) * 3 / 4 + 1;
    if (load_.connect) {
      options.make_secure = [this](TcpStream stream, const http::Url&) {
        return load_.connect(make_byte_stream(std::move(stream)));
      };
    }
    return options;
  }

  // --- servers ---

  http::Response answer(http::Request& request) {
    const auto id = parse_number(request.parameter("id"));
    if (!id || *id >= ledger_.requests()) {
      ledger_.violation("a request for " + request.target());
      return http::Response(404);
    }
    const Work work = work_of(load_.faults.seed, *id);
    ledger_.arrived(*id);
    if (request.method() != work.method || request.field("X-Id") != request.parameter("id")) {
      ledger_.violation("request " + std::to_string(*id) + " has the header of another one");
    }
    if (!work.is_answered_early) check_upload(work, request.read_all());
    ledger_.completed(*id);
    http::Response response;
    response.fields.add("X-Id", request.parameter("id"));
    if (work.answer == Answer::kText) {
      response.body = work.answer_data();
    } else {
      response.stream = [work](http::BodyWriter& out) { write_in_pieces(out, work.id, work.answer_data()); };
      if (work.answer == Answer::kSizedStream) response.stream_length = work.answer_bytes;
    }
    return response;
  }

  void check_upload(const Work& work, std::string_view body) {
    if (body == work.upload_data()) return;
    ledger_.violation("request " + std::to_string(work.id) + " came whole with " +
                      std::to_string(body.size()) + " wrong bytes");
  }

  // Its answers are as long as their connections last.
  Server start_closing_server() {
    fibrio::ServerOptions options{.backlog = 4096};
    if (load_.accept) {
      options.upgrade = [this](std::unique_ptr<ByteStream> stream, const std::string&) {
        return load_.accept(std::move(stream));
      };
    }
    return start_server(
        [this](StreamReader& reader, StreamWriter& writer) {
          const Handlers::Running running = closing_handlers_.begin();
          try {
            const std::optional<Message> request = read_message(reader);
            if (!request) return;
            const std::uint64_t id = request->number("X-Id").value_or(~std::uint64_t{0});
            ledger_.arrived(id);
            const Work work = work_of(load_.faults.seed, id);
            check_upload(work, request->body);
            ledger_.completed(id);
            writer.write("HTTP/1.1 200 OK\r\nX-Id: " + std::to_string(id) + "\r\nConnection: close\r\n\r\n");
            writer.write(work.answer_data());
            writer.drain();
          } catch (const IncompleteReadError&) {
          } catch (const std::system_error&) {
          }
        },
        "127.0.0.1", 0, std::move(options));
  }

  // --- clients ---

  void run_clients() {
    http::Session session(session_options());
    std::vector<Task<>> clients;
    for (int i = 0; i < load_.session_tasks; ++i) {
      clients.push_back(spawn([this, &session] {
        while (const std::optional<Work> work = next_work()) end(work->id, ask(session, *work));
      }));
    }
    for (int i = 0; i < load_.pipelines; ++i) {
      clients.push_back(spawn([this] { run_pipelines(); }));
    }
    for (Task<>& client : clients) await(client);
    session.close();
    if (session.idle_connections() != 0) ledger_.violation("a closed session keeps connections");
  }

  std::optional<Work> next_work() {
    const std::uint64_t id = next_.fetch_add(1, std::memory_order_relaxed);
    if (id >= ledger_.requests()) return {};
    return work_of(load_.faults.seed, id);
  }

  void end(std::uint64_t id, Outcome outcome) {
    ledger_.ended(id, outcome);
    load_.progress();
  }

  Outcome ask(http::Session& session, const Work& work) {
    const std::string name = "request " + std::to_string(work.id);
    try {
      http::ClientResponse response = session.request(work.method, url_of(work), options_of(work));
      if (const auto refused = look_at_status(work, response.status(), response.field("X-Id"))) {
        (void)response.read_all();
        return *refused;
      }
      const std::string wanted = work.answer_data();
      if (work.drops_answer) {
        std::string some(100, '\0');
        some.resize(response.read_some(std::as_writable_bytes(std::span(some))));
        if (!wanted.starts_with(some)) ledger_.violation(name + " has another one's answer");
        return Outcome::kDropped;
      }
      const std::string body = response.read_all();
      if (body == wanted) return Outcome::kAnswered;
      const bool may_be_short = work.answer == Answer::kUntilClose && !load_.connect;
      if (may_be_short && wanted.starts_with(body)) return Outcome::kTruncated;
      ledger_.violation(name + " has " + std::to_string(body.size()) + " wrong bytes in its answer");
    } catch (const http::ClientError&) {
      return Outcome::kCut;
    } catch (const TimeoutError&) {
      if (work.gives_up_after_ms < 0 && !load_.pauses_are_long) ledger_.violation(name + " got stuck");
      return Outcome::kTimedOut;
    } catch (const std::system_error&) {
    } catch (const std::exception& error) {
      ledger_.violation(name + ": " + error.what());
    }
    return Outcome::kLost;
  }

  [[nodiscard]] std::string url_of(const Work& work) const {
    const std::uint16_t port = work.answer == Answer::kUntilClose ? closing_port_ : port_;
    return (load_.connect ? "https://127.0.0.1:" : "http://127.0.0.1:") + std::to_string(port) + "/" +
           std::to_string(work.id);
  }

  static http::RequestOptions options_of(const Work& work) {
    http::RequestOptions options;
    options.fields.add("X-Id", std::to_string(work.id));
    if (work.expects_continue) options.fields.add("Expect", "100-continue");
    if (work.gives_up_after_ms >= 0) options.timeout = std::chrono::milliseconds(work.gives_up_after_ms);
    if (work.upload == Upload::kText) options.body = work.upload_data();
    if (work.upload == Upload::kStream || work.upload == Upload::kSizedStream) {
      options.stream = [work](http::BodyWriter& out) { write_in_pieces(out, work.id, work.upload_data()); };
      if (work.upload == Upload::kSizedStream) options.stream_length = work.upload_bytes;
    }
    return options;
  }

  // How a request ended whose answer is not the handler's; nothing if it is.
  std::optional<Outcome> look_at_status(const Work& work, std::uint64_t status, std::string_view id) {
    const std::string name = "request " + std::to_string(work.id);
    if (id.empty()) {
      if (status != 400 && status != 408) ledger_.violation(name + " has status " + std::to_string(status));
      return Outcome::kRefused;
    }
    if (status != 200) ledger_.violation(name + " has status " + std::to_string(status));
    if (id != std::to_string(work.id)) ledger_.violation(name + " has the answer of " + std::string(id));
    return {};
  }

  // Connections with several requests in flight.
  void run_pipelines() {
    Random random(load_.faults.seed, next_.load(std::memory_order_relaxed));
    while (next_.load(std::memory_order_relaxed) < ledger_.requests()) {
      std::vector<Work> sent;
      Outcome outcome = Outcome::kLost;
      try {
        Streams streams = connect();
        converse(streams, random, sent);
      } catch (const IncompleteReadError&) {
        outcome = Outcome::kCut;
      } catch (const TimeoutError& error) {
        if (!load_.pauses_are_long) ledger_.violation(std::string("a pipeline: ") + error.what());
        outcome = Outcome::kTimedOut;
      } catch (const std::system_error&) {
      } catch (const std::exception& error) {
        ledger_.violation(std::string("a pipeline: ") + error.what());
      }
      for (const Work& work : sent) end(work.id, outcome);
    }
  }

  Streams connect() {
    std::unique_ptr<ByteStream> stream = make_byte_stream(TcpStream::connect("127.0.0.1", port_));
    return make_streams(load_.connect ? load_.connect(std::move(stream)) : std::move(stream));
  }

  // Leaves in `sent` what was not answered when it ends.
  void converse(Streams& streams, Random& random, std::vector<Work>& sent) {
    for (;;) {
      std::string requests;
      for (std::uint64_t left = 1 + random.below(8); left > 0; --left) {
        std::optional<Work> work = next_work();
        if (!work) break;
        requests += text_of(*work);
        sent.push_back(std::move(*work));
      }
      if (sent.empty()) return;
      streams.second.write(requests);
      while (!sent.empty()) {
        const std::optional<Message> answer = read_message(streams.first);
        if (!answer) return;
        const Work work = sent.front();
        sent.erase(sent.begin());
        const std::uint64_t status = parse_number(answer->header.substr(9, 3)).value_or(0);
        const std::optional<Outcome> refused = look_at_status(work, status, answer->field("X-Id"));
        if (!refused && answer->body != work.answer_data()) {
          ledger_.violation("request " + std::to_string(work.id) + " in a pipeline has a wrong answer");
        }
        end(work.id, refused.value_or(Outcome::kAnswered));
      }
    }
  }

  static std::string text_of(const Work& work) {
    const std::string id = std::to_string(work.id);
    std::string text = work.method + " /" + id + " HTTP/1.1\r\nHost: chaos\r\nX-Id: " + id + "\r\n";
    const std::string body = work.upload_data();
    if (work.upload == Upload::kNone) return text + "\r\n";
    if (work.upload != Upload::kStream) {
      return text + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    }
    text += "Transfer-Encoding: chunked\r\n\r\n";
    if (!body.empty()) text += hex(body.size()) + "\r\n" + body + "\r\n";
    return text + "0\r\n\r\n";
  }

  const HttpLoad& load_;
  Ledger& ledger_;
  std::atomic<std::uint64_t> next_{0};
  std::uint16_t port_ = 0;
  std::uint16_t closing_port_ = 0;
  Handlers closing_handlers_;
};

}  // namespace

ProxyCounts run_http_load(const HttpLoad& load, Ledger& ledger) { return Run(load, ledger)(); }

}  // namespace fibrio::chaos

// For tests of examples/http_server: the server as a process of its own, and a client on plain blocking
// sockets.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace http_test {

// All waits in these tests end after this at the latest; sanitizer builds get more.
[[nodiscard]] std::chrono::milliseconds patience();

// Path of the server's program, or nothing: then the tests are skipped.
[[nodiscard]] std::optional<std::string> server_path();
// The same as a question, with a warning.
[[nodiscard]] bool have_server();

// The server in a child process, on a port the system chose. The destructor kills it, by pid.
class ServerProcess {
 public:
  explicit ServerProcess(std::vector<std::string> arguments = {});
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] pid_t pid() const { return pid_; }
  void send_signal(int signal);
  // The exit code once it has ended; -1 if it does not in time, 128 + n for signal n.
  [[nodiscard]] int wait_exit();

 private:
  pid_t pid_ = -1;
  int output_ = -1;
  int port_ = 0;
};

struct Reply {
  int status = 0;  // 0: the connection ended instead
  std::string header;
  std::string body;

  [[nodiscard]] std::string field(std::string_view name) const;
};

// One connection.
class Client {
 public:
  explicit Client(int port);
  ~Client();
  Client(Client&& other) noexcept;
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Returns false if the server has closed.
  bool send(std::string_view bytes);
  void shutdown_write();
  // Closes with a reset.
  void reset();
  // Reads one answer; `head` if it has no body whatever its Content-Length says.
  [[nodiscard]] Reply receive(bool head = false);
  [[nodiscard]] Reply ask(std::string_view request, bool head = false);
  [[nodiscard]] bool has_input_within(std::chrono::milliseconds time);  // also the end
  // Reads to the end of the stream. Nothing if that does not come in time.
  [[nodiscard]] std::optional<std::string> receive_all();
  // True if the server closes without another byte.
  [[nodiscard]] bool is_closed_by_server();

 private:
  bool fill();

  int fd_ = -1;
  std::string buffer_;
};

[[nodiscard]] inline std::string get(std::string_view path, std::string_view fields = {}) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: test\r\n" + std::string(fields) + "\r\n";
}
[[nodiscard]] inline std::string post(std::string_view path, std::string_view body,
                                      std::string_view fields = {}) {
  return "POST " + std::string(path) +
         " HTTP/1.1\r\nHost: test\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
         std::string(fields) + "\r\n" + std::string(body);
}

}  // namespace http_test

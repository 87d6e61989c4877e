// What: other people's clients and servers for tests of HTTP: commands, servers in processes of their own, a folder
// with data.
// Threads: the test's own.
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "http/server_thread.hpp"
#include "support/peers.hpp"
#include "support/temp_folder.hpp"

namespace http_test {

// What a shell command prints; it is killed when it takes too long. Its exit status is told unless it is 0.
inline std::string run(const std::string& command) {
  const std::string limited = "timeout " + std::to_string(30 * fibrio::test::kSlowdown) + " " + command;
  std::FILE* pipe = ::popen(limited.c_str(), "r");
  std::string output;
  char piece[4096];
  while (const std::size_t count = std::fread(piece, 1, sizeof piece, pipe)) output.append(piece, count);
  const int status = ::pclose(pipe);
  return status == 0 ? output : output + "\n(exit status " + std::to_string(WEXITSTATUS(status)) + ")";
}

// The number behind `name` in what a program printed; -1 if it is not there.
inline long number_after(const std::string& output, const std::string& name) {
  const std::size_t at = output.find(name);
  return at == std::string::npos ? -1 : std::atol(output.c_str() + at + name.size());
}

// With data.bin, 3 MB.
class Folder {
 public:
  Folder() {
    for (std::size_t i = 0; i < 3'000'000; ++i) data_ += static_cast<char>(i * 13 + i / 257);
    write("data.bin", data_);
  }
  // Returns its path.
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(file(name), std::ios::binary) << text;
    return file(name);
  }
  [[nodiscard]] std::string read(const std::string& name) const {
    std::ifstream in(file(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  [[nodiscard]] std::string file(const std::string& name) const { return folder_ / name; }
  [[nodiscard]] const std::string& path() const { return folder_.path(); }
  [[nodiscard]] const std::string& data() const { return data_; }

 private:
  fibrio::test::TempFolder folder_;
  std::string data_;
};

// A server of somebody else's, in a process of its own; the destructor ends it, by pid.
class Process {
 public:
  explicit Process(const std::vector<std::string>& arguments) {
    std::vector<std::string> copy = arguments;
    std::vector<char*> argv;
    for (std::string& argument : copy) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      if (std::freopen("/dev/null", "w", stdout) == nullptr) ::_exit(126);
      if (std::freopen("/dev/null", "w", stderr) == nullptr) ::_exit(126);
      ::execvp(argv[0], argv.data());
      ::_exit(127);
    }
  }
  ~Process() {
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

 private:
  pid_t pid_ = -1;
};

// A port that was free a moment ago.
inline int free_port() {
  int port = 0;
  fibrio::net_test::on_loop({1, false}, [&] {
    port = fibrio::TcpListener::bind(fibrio::Address::parse("127.0.0.1", 0)).local_address().port();
  });
  return port;
}

inline bool is_up(int port) {
  return eventually([port] {
    try {
      Client client(port);
      return true;
    } catch (const std::runtime_error&) {
      return false;
    }
  });
}

// Writes a configuration whose http block has `servers`, and returns the command that runs nginx with it: one
// process, all of its files in the folder.
inline std::vector<std::string> nginx_command(const Folder& folder, const std::string& servers) {
  std::string text = "daemon off; master_process off; pid " + folder.file("pid") +
                     "; error_log stderr;\nevents {}\nhttp { access_log off; root " + folder.path() + ";\n";
  for (const char* kind : {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"})
    text += std::string(kind) + "_temp_path " + folder.file("temp") + ";\n";
  return {"nginx", "-c", folder.write("nginx.conf", text + servers + "}\n"), "-p", folder.path()};
}

}  // namespace http_test

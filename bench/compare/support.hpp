// What: what the C++ programs of the comparison share: the command line, the clock of a measurement, the
// answer. Each program is called as `<program> <question> <size> --workers N`, does the work once and prints
// one JSON line; questions.py says what the questions and their sizes are, compare.py runs the programs.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace compare {

struct Arguments {
  std::string question;
  long size = 0;
  int workers = 1;
};

// What a question answers: its figure; CPU time per unit, if the unit is one of time (else 0); what the work
// came to, which the driver checks; and more figures as `, "name": number` pairs.
struct Answer {
  double value = 0;
  double cpu = 0;
  long long check = 0;
  std::string extra = {};
};

using Question = Answer (*)(long size);
struct Entry {
  std::string_view name;
  Question question;
};

struct Spent {
  double wall_ns;
  double cpu_ns;
};

inline double now_ns(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

// Wall time and the CPU time of the whole process since it was made.
class Stopwatch {
 public:
  [[nodiscard]] Spent spent() const {
    return {now_ns(CLOCK_MONOTONIC) - wall_ns_, now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns_};
  }

 private:
  double wall_ns_ = now_ns(CLOCK_MONOTONIC);
  double cpu_ns_ = now_ns(CLOCK_PROCESS_CPUTIME_ID);
};

inline Answer per_unit(const Spent& spent, double units, long long check) {
  return {spent.wall_ns / units, spent.cpu_ns / units, check};
}
inline Answer in_ms(const Spent& spent, long long check) { return per_unit(spent, 1e6, check); }

inline std::string pair(std::string_view name, double value) {
  return ", \"" + std::string(name) + "\": " + std::to_string(value);
}

// W6: how much later than asked sleep_1ms() returns, in us; `early` counts the sleeps that were too short.
template <class Sleep>
Answer overshoot(long sleeps, Sleep sleep_1ms) {
  std::vector<double> late_us;
  const Stopwatch watch;
  for (long i = 0; i < sleeps; ++i) {
    const double before = now_ns(CLOCK_MONOTONIC);
    sleep_1ms();
    late_us.push_back((now_ns(CLOCK_MONOTONIC) - before) / 1e3 - 1000);
  }
  const Spent spent = watch.spent();
  std::sort(late_us.begin(), late_us.end());
  const auto early = std::lower_bound(late_us.begin(), late_us.end(), 0.0) - late_us.begin();
  return {late_us[late_us.size() / 2], spent.cpu_ns / 1e3 / static_cast<double>(sleeps), sleeps,
          pair("p99", late_us[late_us.size() * 99 / 100]) + pair("early", static_cast<double>(early))};
}

// Resident and page-table bytes of this process.
struct Memory {
  double resident = 0;
  double page_tables = 0;
};
inline Memory memory() {
  Memory now;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) now.resident = std::strtod(line.c_str() + 6, nullptr) * 1024;
    if (line.starts_with("VmPTE:")) now.page_tables = std::strtod(line.c_str() + 6, nullptr) * 1024;
  }
  return now;
}

inline Arguments parse(int argc, char** argv) {
  Arguments arguments;
  if (argc == 5 && std::strcmp(argv[3], "--workers") == 0) {
    arguments.question = argv[1];
    arguments.size = std::strtol(argv[2], nullptr, 10);
    arguments.workers = std::atoi(argv[4]);
  }
  if (arguments.size <= 0 || arguments.workers <= 0) {
    std::fprintf(stderr, "usage: %s QUESTION SIZE --workers N\n", argv[0]);
    std::exit(2);
  }
  return arguments;
}

template <std::size_t N>
Question find(const Entry (&entries)[N], const Arguments& arguments) {
  for (const Entry& entry : entries) {
    if (entry.name == arguments.question) return entry.question;
  }
  std::fprintf(stderr, "no question %s here\n", arguments.question.c_str());
  std::exit(2);
}

inline void print(const Arguments& arguments, const Answer& answer) {
  std::printf("{\"question\": \"%s\", \"workers\": %d, \"value\": %.4f, \"cpu\": %.4f, \"check\": %lld%s}\n",
              arguments.question.c_str(), arguments.workers, answer.value, answer.cpu, answer.check,
              answer.extra.c_str());
}

}  // namespace compare

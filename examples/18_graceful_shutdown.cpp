// Teaches: background tasks that end in an orderly way. A service has a worker that takes jobs from a queue and a
// task that reports now and then. To stop: no new jobs (shut the queue down), let the worker finish what is
// queued, cancel what would go on for ever, and wait for both. A signal handler would set `stop` just so. One
// worker and virtual time, so that the output is always this.
#include <chrono>
#include <iostream>
#include <string>

#include <fibrio/fibrio.hpp>

using namespace std::chrono_literals;

class Service {
 public:
  void start() {
    worker_ = fibrio::create_task({.name = "worker"}, [this] { work(); });
    reporter_ = fibrio::create_task({.name = "reporter"}, [this] { report(); });
  }
  void submit(std::string job) { jobs_.put(std::move(job)); }
  void stop() {
    std::cout << "stopping, " << jobs_.qsize() << " jobs left\n";
    jobs_.shutdown();  // put throws from now on; get goes on until the queue is empty
    reporter_.cancel();
    worker_.wait();
    reporter_.wait();
    std::cout << "stopped after " << finished_ << " jobs\n";
  }

 private:
  void work() {
    try {
      for (;;) {
        const std::string job = jobs_.get();
        fibrio::sleep(100ms);
        ++finished_;
        std::cout << "did " << job << "\n";
      }
    } catch (const fibrio::QueueShutDown&) {
      std::cout << "worker: nothing left\n";
    }
  }
  void report() {
    try {
      for (;;) {
        fibrio::sleep(250ms);
        std::cout << "report: " << finished_ << " done\n";
      }
    } catch (const fibrio::CancelledError&) {
      std::cout << "reporter: last report written\n";
      throw;
    }
  }

  fibrio::Queue<std::string> jobs_;
  fibrio::Task<> worker_;
  fibrio::Task<> reporter_;
  int finished_ = 0;
};

int main() {
  fibrio::run(
      [] {
        Service service;
        service.start();
        fibrio::Event stop;
        fibrio::get_running_loop().call_later(330ms, [&] { stop.set(); });
        for (const char* job : {"one", "two", "three", "four", "five"}) service.submit(job);
        stop.wait();
        service.stop();
      },
      fibrio::Config{.workers = 1, .virtual_time = true});
}

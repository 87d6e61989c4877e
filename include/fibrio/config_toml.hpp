// Reads the file that FIBRIO_CONFIG names, as TOML. The optional component fibrio::toml.
//
//   int main() { return fibrio::run(serve); }     // linked with fibrio::toml
//   FIBRIO_CONFIG=server.toml ./server
//
//   # server.toml: the keys are the fields of fibrio::Config
//   workers = 4
//   stack_size = "256K"              # or bytes as an integer
//   blocking_keep_alive = 2.5        # seconds, or "100ms", "50us"
//   debug = true
//
// A file that serves a whole program may keep these keys in a table [fibrio]; then nothing outside of it is
// read.
#pragma once

namespace fibrio {

// Makes Config::load() read TOML files from now on. Programs that link the CMake target fibrio::toml need not
// call it: that is done before main. Others call it before the first loop is made, since linkers leave out an
// object file of a static library that nobody calls into. Again does no harm. Config::load() then throws
// ConfigError, naming file and line, for a file that cannot be read or parsed, an unknown key, or a value out
// of range. Threads: any.
void use_toml_config() noexcept;

}  // namespace fibrio

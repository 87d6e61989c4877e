// What: the reader of TOML configuration files behind fibrio::use_toml_config. An optional component: it sees
//   fibrio's public headers only.
// Threads: any.
// Protocol: each value is turned into the text that the environment would carry and goes through
//   detail::apply_setting, so that ranges, suffixes and errors are the same whatever a setting came from.
// Rejected: a parser of our own (TOML is larger than it looks); toml++ in the core (a dependency that most
//   programs do not need).

#include "fibrio/config_toml.hpp"

#include <charconv>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include <toml++/toml.h>

#include "fibrio/config.hpp"
#include "fibrio/errors.hpp"

namespace fibrio {
namespace {

constexpr std::string_view kTable = "fibrio";

std::string where(const std::string& path, const toml::source_region& region) {
  return path + ":" + std::to_string(region.begin.line);
}

// A float keeps its point ("4.0"): an integer field must refuse it.
std::string float_text(double number) {
  char buffer[64];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, number);
  std::string text(buffer, error == std::errc{} ? end : buffer);
  if (text.find_first_not_of("-0123456789") == std::string::npos) text += ".0";
  return text;
}

std::string setting_text(const toml::key& key, const toml::node& node, const std::string& source) {
  if (const auto* value = node.as_integer()) return std::to_string(value->get());
  if (const auto* value = node.as_floating_point()) return float_text(value->get());
  if (const auto* value = node.as_boolean()) return value->get() ? "true" : "false";
  if (const auto* value = node.as_string()) return value->get();
  throw ConfigError(std::string(key.str()) + " (" + source +
                    ") is a table, an array or a date; allowed: a number, a string, true or false");
}

void read_toml(const std::string& path, Config& config) {
  if (std::error_code ignored; std::filesystem::is_directory(path, ignored)) {
    throw ConfigError(path + ": a directory, not a file (the file that FIBRIO_CONFIG names)");
  }
  toml::table file;
  try {
    file = toml::parse_file(path);
  } catch (const toml::parse_error& error) {
    // A file that cannot be opened comes without a line.
    const bool has_line = error.source().begin.line > 0;
    throw ConfigError((has_line ? where(path, error.source()) : path) + ": " +
                      std::string(error.description()) + " (the file that FIBRIO_CONFIG names)");
  }
  const toml::table* const inner = file[kTable].as_table();
  for (const auto& [key, node] : inner != nullptr ? *inner : file) {
    const std::string source = where(path, key.source());
    detail::apply_setting(config, std::string(key.str()), setting_text(key, node, source), source);
  }
}

}  // namespace

void use_toml_config() noexcept { detail::set_config_file_reader(&read_toml); }

}  // namespace fibrio

// Who links the CMake target asks for this symbol by name (src/CMakeLists.txt), so that the linker takes this
// file out of a static library, and the component as a shared one, although nobody calls into it.
extern "C" const bool fibrio_toml_config = (fibrio::use_toml_config(), true);

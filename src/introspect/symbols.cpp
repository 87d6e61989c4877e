#include "introspect/symbols.hpp"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/fork_hold.hpp"
#include "sched/worker.hpp"

namespace fibrio::detail {
namespace {

constexpr char kThisProgram[] = "/proc/self/exe";

// The functions of one file.
class SymbolTable {
 public:
  explicit SymbolTable(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    ElfW(Ehdr) header{};
    if (!read(file, 0, &header, 1)) return;
    if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_shentsize != sizeof(ElfW(Shdr))) return;
    std::vector<ElfW(Shdr)> sections(header.e_shnum);
    if (!read(file, header.e_shoff, sections.data(), sections.size())) return;
    const auto table = std::find_if(sections.begin(), sections.end(),
                                    [](const ElfW(Shdr) & section) { return section.sh_type == SHT_SYMTAB; });
    if (table == sections.end() || table->sh_link >= sections.size()) return;
    std::vector<ElfW(Sym)> symbols(table->sh_size / sizeof(ElfW(Sym)));
    names_.resize(sections[table->sh_link].sh_size);
    if (!read(file, table->sh_offset, symbols.data(), symbols.size()) ||
        !read(file, sections[table->sh_link].sh_offset, names_.data(), names_.size())) {
      return;
    }
    for (const ElfW(Sym) & symbol : symbols) {
      if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && symbol.st_shndx != SHN_UNDEF &&
          symbol.st_name < names_.size()) {
        functions_.push_back({symbol.st_value, symbol.st_size, symbol.st_name});
      }
    }
    std::sort(functions_.begin(), functions_.end(),
              [](const Function& a, const Function& b) { return a.offset < b.offset; });
  }

  [[nodiscard]] std::string find(std::uintptr_t offset) const {
    auto after =
        std::upper_bound(functions_.begin(), functions_.end(), offset,
                         [](std::uintptr_t wanted, const Function& each) { return wanted < each.offset; });
    if (after == functions_.begin()) return {};
    const Function& function = *--after;
    return offset - function.offset < function.size ? std::string(&names_[function.name]) : std::string();
  }

 private:
  struct Function {
    std::uintptr_t offset;
    std::size_t size;
    std::size_t name;  // in names_
  };

  template <class T>
  static bool read(std::ifstream& file, std::size_t offset, T* to, std::size_t count) {
    file.seekg(static_cast<std::streamoff>(offset));
    file.read(reinterpret_cast<char*>(to), static_cast<std::streamsize>(count * sizeof(T)));
    return file.good();
  }

  std::vector<Function> functions_;  // by offset
  std::string names_;                // each with its terminating zero
};

std::mutex tables_lock;

const SymbolTable& table_of(const std::string& path) {
  struct Tables {
    std::map<std::string, std::unique_ptr<SymbolTable>> by_path;
  };
  static Tables& tables = *new Tables;  // reports may come from destructors of static objects
  hold_over_forks<tables_lock>();
  std::lock_guard guard(tables_lock);
  std::unique_ptr<SymbolTable>& table = tables.by_path[path];
  if (table == nullptr) table = std::make_unique<SymbolTable>(path);
  return *table;
}

// Whether so much is left of the stack that the caller runs on.
bool has_stack(std::size_t bytes) {
  const Worker* worker = this_worker();
  const TaskCore* task = worker == nullptr ? nullptr : static_cast<TaskCore*>(worker->current);
  if (task == nullptr) return true;  // a thread's own
  const std::byte here{};
  return &here - task->stack->low > static_cast<std::ptrdiff_t>(bytes);
}

}  // namespace

Place place_of(const void* return_address) {
  if (return_address == nullptr) return {};
  // The call is before it, perhaps the last instruction of its function.
  const auto address = reinterpret_cast<std::uintptr_t>(return_address) - 1;
  Dl_info info{};
  link_map* map = nullptr;
  if (::dladdr1(reinterpret_cast<const void*>(address), &info, reinterpret_cast<void**>(&map),
                RTLD_DL_LINKMAP) == 0 ||
      map == nullptr) {
    return {};
  }
  // A report may come in a task with a small stack: then the names are left out.
  constexpr std::size_t kBytesToRead = std::size_t{32} * 1024;
  const bool may_read = has_stack(kBytesToRead);
  Place place;
  place.offset = address - map->l_addr;
  if (map->l_name != nullptr && *map->l_name != '\0') {
    place.module = map->l_name;
    if (may_read) place.symbol = table_of(place.module).find(place.offset);
  } else {
    std::string path(PATH_MAX, '\0');
    const ssize_t length = ::readlink(kThisProgram, path.data(), path.size());
    place.module = length > 0 ? path.substr(0, static_cast<std::size_t>(length)) : info.dli_fname;
    if (may_read) place.symbol = table_of(kThisProgram).find(place.offset);
  }
  if (place.symbol.empty() && info.dli_sname != nullptr) place.symbol = info.dli_sname;
  return place;
}

std::string demangled(const std::string& symbol) {
  // The demangler keeps two components of 32 bytes and a pointer for each letter on the stack.
  constexpr std::size_t kBytesPerLetter = 100;
  constexpr std::size_t kBytesBeside = std::size_t{8} * 1024;
  if (!has_stack(kBytesBeside + kBytesPerLetter * symbol.size())) return symbol;
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(
      abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status), &std::free);
  return status == 0 ? std::string(name.get()) : symbol;
}

}  // namespace fibrio::detail

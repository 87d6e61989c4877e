# sanitizer_environment: what tests run with in sanitizer builds; empty in others.
set(sanitizer_environment "")
if(FIBRIO_SANITIZE)
  # clang's own symbolizer is in a package of its own; addr2line is always there, and good enough.
  find_program(FIBRIO_SYMBOLIZER NAMES llvm-symbolizer-19 llvm-symbolizer addr2line)
  mark_as_advanced(FIBRIO_SYMBOLIZER)
  set(sanitizer_environment
    "ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:check_initialization_order=1"
    "UBSAN_OPTIONS=print_stacktrace=1"
    "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:suppressions=${CMAKE_CURRENT_LIST_DIR}/tsan.supp:external_symbolizer_path=${FIBRIO_SYMBOLIZER}")
endif()

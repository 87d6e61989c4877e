// The main of every test program with Catch2 2.x, compiled once; Catch2 3 brings its own.
// Catch's signal handlers are left out: they would run in place of the library's report of a stack overflow.
#define CATCH_CONFIG_NO_POSIX_SIGNALS
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>

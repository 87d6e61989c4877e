# Run by ctest itself: asks a Catch2 program for its test cases and makes each one a test.
# Expects: binary, name, list_arguments, run_arguments, properties (a list of keys and values), timeout, labels,
# environment.

cmake_policy(VERSION 3.25)

function(fibrio_discover_tests)
  if(NOT EXISTS "${binary}")
    add_test("${name}: is built" "${binary}")
    set_tests_properties("${name}: is built" PROPERTIES LABELS "${labels}")
    return()
  endif()

  # Catch2 2.x returns the number of test cases, so that only "no names at all" tells a failure.
  execute_process(COMMAND "${binary}" ${list_arguments} OUTPUT_VARIABLE output ERROR_VARIABLE errors
    RESULT_VARIABLE result TIMEOUT 60)
  # What CMake's lists would stumble over is something else until each line stands alone.
  string(ASCII 28 semicolon)
  string(ASCII 29 opening)
  string(ASCII 30 closing)
  string(REPLACE ";" "${semicolon}" lines "${output}")
  string(REPLACE "[" "${opening}" lines "${lines}")
  string(REPLACE "]" "${closing}" lines "${lines}")
  string(REPLACE "\n" ";" lines "${lines}")
  list(FILTER lines EXCLUDE REGEX "^[ \t]*$")
  if(NOT lines OR NOT result MATCHES "^[0-9]+$")
    message("${name} does not list its test cases (${result}): ${output}${errors}")
    add_test("${name}: lists its test cases" "${binary}" ${list_arguments})
    set_tests_properties("${name}: lists its test cases" PROPERTIES LABELS "${labels}"
      FAIL_REGULAR_EXPRESSION ".*")
    return()
  endif()

  foreach(line IN LISTS lines)
    string(STRIP "${line}" case)
    string(REPLACE "${semicolon}" ";" case "${case}")
    string(REPLACE "${opening}" "[" case "${case}")
    string(REPLACE "${closing}" "]" case "${case}")
    # In a test specification these have a meaning of their own.
    string(REGEX REPLACE "([][\\,])" "\\\\\\1" specification "${case}")
    set(test "${name}: ${case}")
    add_test("${test}" "${binary}" ${run_arguments} "${specification}")
    set_tests_properties("${test}" PROPERTIES LABELS "${labels}" TIMEOUT ${timeout} SKIP_RETURN_CODE 77
      ${properties})
    if(environment)
      set_tests_properties("${test}" PROPERTIES ENVIRONMENT "${environment}")
    endif()
  endforeach()
endfunction()
fibrio_discover_tests()

# cmake -Dprogram=... -Dexpected=... -Dactual=... -P run_example.cmake
# Runs an example; its exit code must be 0, its standard output exactly the expected file (where there is one).

execute_process(COMMAND "${program}" OUTPUT_FILE "${actual}" RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  file(READ "${actual}" output)
  message("${output}")
  message(FATAL_ERROR "${program} ended with ${result}; its output is above")
endif()
if(NOT EXISTS "${expected}")
  message("no ${expected}: only the exit code was checked")
  return()
endif()
execute_process(COMMAND "${CMAKE_COMMAND}" -E compare_files "${expected}" "${actual}" RESULT_VARIABLE differs
  OUTPUT_QUIET ERROR_QUIET)
if(differs)
  execute_process(COMMAND diff -u "${expected}" "${actual}" OUTPUT_VARIABLE difference ERROR_VARIABLE errors)
  message("${difference}${errors}")
  message(FATAL_ERROR "the output differs from what is expected; the difference is above")
endif()

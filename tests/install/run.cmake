# Installs a finished build to a fresh prefix, builds the consumer against it and runs that.
# way: cmake (find_package) or pkgconfig.

function(run what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${what} failed (${result}):\n${command}\n${output}")
  endif()
  message("${what}: done")
  set(output "${output}" PARENT_SCOPE)
endfunction()

set(prefix ${work_dir}/prefix)
file(REMOVE_RECURSE ${work_dir})
file(MAKE_DIRECTORY ${work_dir})
run("install" ${CMAKE_COMMAND} --install ${build_dir} --prefix ${prefix} --config "${config}")

if(way STREQUAL "cmake")
  run("configure the consumer" ${CMAKE_COMMAND} -S ${consumer} -B ${work_dir}/build -G ${generator}
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER=${compiler} -DCMAKE_PREFIX_PATH=${prefix}
    -DWITH_TOML=${toml})
  run("build the consumer" ${CMAKE_COMMAND} --build ${work_dir}/build --config Release)
  find_program(program consumer PATHS ${work_dir}/build ${work_dir}/build/Release NO_DEFAULT_PATH REQUIRED)
else()
  find_program(pkgconfig NAMES pkg-config pkgconf)
  if(NOT pkgconfig)
    message("skipped: no pkg-config here")
    return()
  endif()
  set(ENV{PKG_CONFIG_PATH} ${prefix}/${libdir}/pkgconfig)
  run("read fibrio.pc" ${pkgconfig} --cflags fibrio)
  separate_arguments(cflags UNIX_COMMAND "${output}")
  run("read fibrio.pc" ${pkgconfig} --libs fibrio)
  separate_arguments(libs UNIX_COMMAND "${output}")
  set(program ${work_dir}/consumer)
  run("build the consumer" ${compiler} -std=c++20 ${cflags} ${consumer}/main.cpp -o ${program} ${libs})
endif()

set(ENV{LD_LIBRARY_PATH} "${prefix}/${libdir}:$ENV{LD_LIBRARY_PATH}")
run("run the consumer" ${program})
if(NOT output STREQUAL "fibrio ${version}\n")
  message(FATAL_ERROR "the consumer printed '${output}', not 'fibrio ${version}'")
endif()

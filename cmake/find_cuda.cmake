# Decides whether the CUDA module is built and records why. Sets REWARM_CUDA_BUILT, REWARM_CUDA_REASON, REWARM_CUDA_COMPILER
# and, when it is built, CMAKE_CUDA_ARCHITECTURES. Never asks whether the building machine has a GPU.
include(CheckLanguage)
check_language(CUDA)

if(NOT CMAKE_CUDA_COMPILER)
  # An nvcc that exists but cannot compile, or lies where CMake does not look, deserves its own words.
  find_program(REWARM_NVCC_SEEN nvcc HINTS $ENV{CUDACXX} $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin /usr/local/cuda/bin
               /opt/cuda/bin NO_CACHE)
  if(REWARM_NVCC_SEEN)
    set(REWARM_CUDA_REASON "an nvcc was found (${REWARM_NVCC_SEEN}) but is not on PATH or failed a test compilation: set CUDACXX to it, and CUDAHOSTCXX to a host compiler that it accepts")
  else()
    set(REWARM_CUDA_REASON "no nvcc was found: put it on PATH or set CUDACXX, then reinstall")
  endif()
  if(REWARM_CUDA STREQUAL "ON")
    message(FATAL_ERROR "REWARM_CUDA=ON, but ${REWARM_CUDA_REASON}")
  endif()
  return()
endif()

# Real machine code for every current architecture that this nvcc knows, PTX of the newest plain one as a spare.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
  execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --list-gpu-arch OUTPUT_VARIABLE _known OUTPUT_STRIP_TRAILING_WHITESPACE
                  ERROR_QUIET)
  set(_arches "")
  set(_newest "")
  foreach(_arch 80 86 89 90 100 120)
    if(_known MATCHES "compute_${_arch}(\n|$)")
      list(APPEND _arches "${_arch}-real")
      set(_newest ${_arch})
    endif()
  endforeach()
  if(_newest)
    list(APPEND _arches "${_newest}-virtual")
    set(CMAKE_CUDA_ARCHITECTURES "${_arches}" CACHE STRING "CUDA architectures")
  endif()
endif()
enable_language(CUDA)
set(REWARM_CUDA_BUILT TRUE)
set(REWARM_CUDA_COMPILER "${CMAKE_CUDA_COMPILER_ID} ${CMAKE_CUDA_COMPILER_VERSION}")
set(REWARM_CUDA_REASON "built with nvcc ${CMAKE_CUDA_COMPILER_VERSION}")

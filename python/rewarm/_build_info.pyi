"""What the build found and decided; written by CMake."""

CUDA_BUILT: bool
CUDA_REASON: str
CUDA_COMPILER: str
CUDA_ARCHITECTURES: str
CXX_COMPILER: str
CMAKE_VERSION: str
SYSTEM_PROCESSOR: str

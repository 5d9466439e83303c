// The one exception of the C++ side. bindings/ turns its kind into a class of rewarm.errors.
#pragma once

#include <stdexcept>
#include <string>

namespace rewarm {

enum class ErrorKind { kInvalidArgument, kPlanChanged, kScheduleConflict, kCapture, kDevice, kTrace, kIndex };

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace rewarm

#include "trace/minute_sink.h"

#include <exception>
#include <utility>

#include "trace/for_each.h"

namespace rewarm::trace {

MinuteSink::MinuteSink(MinuteKeys keys, const std::vector<std::string>& by, const std::vector<std::string>& values,
                       bool histograms, int64_t max_groups, std::string text, int workers)
    : keys_(std::move(keys)), workers_(workers) {
  sink_ = std::make_unique<AggregateSink>(scan_spec(keys_.fields(), by, values, histograms, max_groups, std::move(text)),
                                          columns_of(keys_.fields(), by), columns_of(keys_.fields(), values), workers);
}

void MinuteSink::consume(const std::vector<std::shared_ptr<const Batch>>& batches) {
  std::vector<std::exception_ptr> errors(static_cast<size_t>(workers_));
  for_each(workers_, workers_, [&](int64_t worker) {
    try {
      for (size_t b = static_cast<size_t>(worker); b < batches.size(); b += static_cast<size_t>(workers_))
        sink_->consume(static_cast<int>(worker), keys_.widened(*batches[b]));
    } catch (...) {
      errors[static_cast<size_t>(worker)] = std::current_exception();
    }
  });
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace rewarm::trace

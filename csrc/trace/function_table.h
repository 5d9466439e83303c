// Runtime tables as other tables join them: (region, funcID) -> runtime and trigger group.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trace/batch.h"

namespace rewarm::trace {

struct JoinedFunction {
  int32_t runtime = -1;  // codes; -1 = null
  int32_t trigger_group = -1;
};

// The functions of one region. Their names lie end to end in one text: every join waits for this table to be filled.
class RegionFunctions {
 public:
  struct Row {
    uint32_t begin;
    uint32_t length;
    JoinedFunction joined;
  };
  // The row of a function, a fresh one of nulls where it was not known.
  Row& row_of(std::string_view function, bool* fresh);
  JoinedFunction find(std::string_view function) const;

  const std::vector<Row>& rows() const { return rows_; }
  std::string_view name(const Row& row) const { return std::string_view(text_).substr(row.begin, row.length); }

 private:
  size_t slot_of(std::string_view function) const;
  void grow();

  std::string text_;
  std::vector<Row> rows_;
  std::vector<uint32_t> slots_ = std::vector<uint32_t>(4096, 0);  // index into rows_ + 1, 0 = empty; a power of two
};

using OptionalText = std::optional<std::string>;

class FunctionTable {
 public:
  struct Region {
    OptionalText name;  // null: of files whose path tells none
    RegionFunctions functions;
  };
  // What a field of a runtime table says: null, a word, or nothing that is accepted.
  struct Word {
    bool accepted;
    OptionalText text;
  };
  // Asked once for each different text of a column: by the column's index in `kPlainColumns`.
  using WordOf = std::function<Word(int32_t column, std::string_view text)>;

  // A function that is added twice has what was said last.
  void add(const OptionalText& region, std::string_view function, const OptionalText& runtime,
           const OptionalText& trigger_group);
  // Adds the rows of a file's text behind its header if none is odd: as many fields as the header, none of them quoted, no
  // blank lines, a funcID of small numbers, words that `word_of` accepts, one runtime a function in all files. False: one is,
  // some may be in, and the table is of no use.
  bool add_plain(const OptionalText& region, std::string_view text, const std::vector<std::string>& header,
                 const WordOf& word_of);

  // Null where nothing is known of the region.
  const RegionFunctions* functions_of(const OptionalText& region) const;
  const std::vector<std::unique_ptr<Region>>& regions() const { return regions_; }
  std::shared_ptr<const Dictionary> runtimes() const { return runtimes_; }
  std::shared_ptr<const Dictionary> trigger_groups() const { return trigger_groups_; }

  // 32 hexadecimal digits: equal for tables that say the same, in whatever order they were added.
  std::string fingerprint() const;

 private:
  RegionFunctions& own_functions(const OptionalText& region);

  std::vector<std::unique_ptr<Region>> regions_;
  std::shared_ptr<Dictionary> runtimes_ = std::make_shared<Dictionary>();
  std::shared_ptr<Dictionary> trigger_groups_ = std::make_shared<Dictionary>();
};

// The columns that `add_plain` looks at.
constexpr const char* kPlainColumns[] = {"funcID", "runtime", "triggerType-invocationType", "cpu_request"};

}  // namespace rewarm::trace

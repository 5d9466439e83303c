#include "trace/arrow.h"

#include <cerrno>
#include <cstring>
#include <deque>
#include <exception>

namespace rewarm::trace {
namespace {

// ---- schemas: one holder for each node, because a consumer may move a child out and release it on its own ------------------

std::string format_of(const OutputField& field) {
  switch (field.type) {
    case Type::kInt8: return "c";
    case Type::kInt16: return "s";
    case Type::kInt32: return "i";
    case Type::kInt64: return "l";
    case Type::kFloat64: return "g";
    case Type::kFixedBinary: return "w:" + std::to_string(field.width);
    case Type::kDictionary: return "i";
    case Type::kUtf8: return "u";
    case Type::kUtf8List: return "+l";
  }
  return "n";
}

using Pairs = std::vector<std::pair<std::string, std::string>>;

std::string metadata_of(const Pairs& pairs) {
  std::string bytes;
  const auto number = [&](size_t n) {
    const int32_t value = static_cast<int32_t>(n);
    bytes.append(reinterpret_cast<const char*>(&value), 4);
  };
  const auto text = [&](const std::string& s) {
    number(s.size());
    bytes += s;
  };
  number(pairs.size());
  for (const auto& [key, value] : pairs) {
    text(key);
    text(value);
  }
  return bytes;
}

struct SchemaNode {
  std::string format, name, metadata;
  std::deque<ArrowSchema> nodes;
  std::vector<ArrowSchema*> children;
  ArrowSchema dictionary{};
};

void release_schema(ArrowSchema* schema) {
  SchemaNode* node = static_cast<SchemaNode*>(schema->private_data);
  for (ArrowSchema* child : node->children)
    if (child->release != nullptr) child->release(child);
  if (schema->dictionary != nullptr && schema->dictionary->release != nullptr) schema->dictionary->release(schema->dictionary);
  delete node;
  schema->release = nullptr;
}

SchemaNode* make_schema(const std::string& format, const std::string& name, const Pairs& metadata, size_t children,
                        ArrowSchema* out) {
  SchemaNode* node = new SchemaNode;
  node->format = format;
  node->name = name;
  if (!metadata.empty()) node->metadata = metadata_of(metadata);
  node->nodes.resize(children);
  for (ArrowSchema& child : node->nodes) node->children.push_back(&child);
  *out = {node->format.c_str(),
          node->name.c_str(),
          metadata.empty() ? nullptr : node->metadata.data(),
          ARROW_FLAG_NULLABLE,
          static_cast<int64_t>(children),
          children == 0 ? nullptr : node->children.data(),
          nullptr,
          release_schema,
          node};
  return node;
}

// ---- arrays ----------------------------------------------------------------------------------------------------------------

// The words of a dictionary as a utf8 array of their own.
std::shared_ptr<const Column> words_column(const Dictionary& dictionary) {
  auto column = std::make_shared<Column>();
  column->type = Type::kUtf8;
  size_t chars = 0;
  for (const std::string& word : dictionary.words) chars += word.size();
  column->values = std::make_shared<Buffer>(chars);
  column->values->resize(chars);
  column->offsets = std::make_shared<Buffer>();
  column->offsets->resize(4 * (dictionary.words.size() + 1));
  int32_t* offsets = reinterpret_cast<int32_t*>(column->offsets->data());
  int32_t at = 0;
  offsets[0] = 0;
  for (size_t i = 0; i < dictionary.words.size(); ++i) {
    const std::string& word = dictionary.words[i];
    std::memcpy(column->values->data() + at, word.data(), word.size());
    at += static_cast<int32_t>(word.size());
    offsets[i + 1] = at;
  }
  return column;
}

struct ArrayNode {
  Column column;                      // holds the buffers
  std::shared_ptr<const void> owner;  // whatever else must live
  const void* buffers[3] = {nullptr, nullptr, nullptr};
  std::deque<ArrowArray> nodes;
  std::vector<ArrowArray*> children;
  ArrowArray dictionary{};
};

void release_array(ArrowArray* array) {
  ArrayNode* node = static_cast<ArrayNode*>(array->private_data);
  for (ArrowArray* child : node->children)
    if (child->release != nullptr) child->release(child);
  if (array->dictionary != nullptr && array->dictionary->release != nullptr) array->dictionary->release(array->dictionary);
  delete node;
  array->release = nullptr;
}

ArrayNode* make_array(int64_t length, int64_t nulls, int64_t buffers, ArrowArray* out) {
  ArrayNode* node = new ArrayNode;
  *out = {length, nulls, 0, buffers, 0, node->buffers, nullptr, nullptr, release_array, node};
  return node;
}

ArrowArray* add_child(ArrayNode* node, ArrowArray* array) {
  node->nodes.emplace_back();
  node->children.push_back(&node->nodes.back());
  array->n_children = static_cast<int64_t>(node->children.size());
  array->children = node->children.data();
  return node->children.back();
}

void export_column(const Column& column, int64_t rows, ArrowArray* out) {
  const bool text = column.type == Type::kUtf8;
  ArrayNode* node = make_array(rows, column.null_count, text ? 3 : 2, out);
  node->column = column;
  node->buffers[0] = column.validity == nullptr ? nullptr : column.validity->data();
  if (column.type == Type::kUtf8List) {
    node->buffers[1] = column.offsets->data();
    export_column(*column.child, column.child_rows, add_child(node, out));
    return;
  }
  node->buffers[1] = text ? column.offsets->data() : column.values->data();
  node->buffers[2] = text ? column.values->data() : nullptr;
  if (column.type == Type::kDictionary) {
    const Dictionary& dictionary = *column.dictionary;
    export_column(*words_column(dictionary), static_cast<int64_t>(dictionary.words.size()), &node->dictionary);
    out->dictionary = &node->dictionary;
  }
}

// ---- streams ---------------------------------------------------------------------------------------------------------------

struct StreamNode {
  std::shared_ptr<BatchSource> source;
  std::string error;
};

template <class Body>
int guarded(ArrowArrayStream* stream, const Body& body) {
  StreamNode* node = static_cast<StreamNode*>(stream->private_data);
  try {
    body(*node->source);
    return 0;
  } catch (const std::bad_alloc&) {
    node->error = "out of memory";
    return ENOMEM;
  } catch (const std::exception& e) {
    node->error = e.what();
    return EINVAL;
  } catch (...) {
    node->error = "unknown error";
    return EINVAL;
  }
}

}  // namespace

void export_schema(const ArrowFields& fields, ArrowSchema* out) {
  Pairs metadata = {{"rewarm.table", fields.table}, {"rewarm.version", fields.version}};
  if (!fields.assumed_region.empty()) metadata.emplace_back("rewarm.assumed_region", fields.assumed_region);
  SchemaNode* root = make_schema("+s", "", metadata, fields.fields.size(), out);
  out->flags = 0;
  for (size_t i = 0; i < fields.fields.size(); ++i) {
    const OutputField& field = fields.fields[i];
    const Pairs unit = field.unit.empty() ? Pairs() : Pairs{{"unit", field.unit}};
    const bool list = field.type == Type::kUtf8List;
    SchemaNode* node = make_schema(format_of(field), field.name, unit, list ? 1 : 0, root->children[i]);
    if (list) make_schema("u", "item", {}, 0, node->children[0]);
    if (field.type == Type::kDictionary) {
      make_schema("u", "", {}, 0, &node->dictionary);
      root->children[i]->dictionary = &node->dictionary;
    }
  }
}

void export_batch(const ArrowFields& fields, const std::shared_ptr<const Batch>& batch, ArrowArray* out) {
  ArrayNode* root = make_array(batch->rows, 0, 1, out);
  for (size_t i = 0; i < fields.fields.size(); ++i) export_column(batch->columns[i], batch->rows, add_child(root, out));
  out->children = root->children.data();
}

void export_stream(std::shared_ptr<BatchSource> source, ArrowArrayStream* out) {
  out->get_schema = [](ArrowArrayStream* stream, ArrowSchema* schema) {
    return guarded(stream, [&](BatchSource& s) { export_schema(s.fields(), schema); });
  };
  out->get_next = [](ArrowArrayStream* stream, ArrowArray* array) {
    return guarded(stream, [&](BatchSource& s) {
      const std::shared_ptr<const Batch> batch = s.next();
      if (batch == nullptr) {
        array->release = nullptr;
      } else {
        export_batch(s.fields(), batch, array);
      }
    });
  };
  out->get_last_error = [](ArrowArrayStream* stream) -> const char* {
    const std::string& error = static_cast<StreamNode*>(stream->private_data)->error;
    return error.empty() ? nullptr : error.c_str();
  };
  out->release = [](ArrowArrayStream* stream) {
    delete static_cast<StreamNode*>(stream->private_data);
    stream->release = nullptr;
  };
  out->private_data = new StreamNode{std::move(source), ""};
}

}  // namespace rewarm::trace

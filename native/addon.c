/* Entry of the addon, and the helpers through which its parts talk with JavaScript. */
#include "addon.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

NAPI_MODULE_INIT() {
  tun_register(env, exports);
  udp_register(env, exports);
  aead_register(env, exports);
  poll_register(env, exports);
  netlink_register(env, exports);
  offload_register(env, exports);
  return exports;
}

void define(napi_env env, napi_value exports, const char *name, napi_callback function) {
  napi_value value;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, function, NULL, &value) == napi_ok)
    napi_set_named_property(env, exports, name, value);
}

/* ---- errors ---- */

napi_value throw_range(napi_env env, const char *format, ...) {
  char text[256];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  napi_throw_range_error(env, "ERR_OUT_OF_RANGE", text);
  return NULL;
}

napi_value throw_type(napi_env env, const char *format, ...) {
  char text[256];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", text);
  return NULL;
}

napi_value throw_errno(napi_env env, int error, const char *syscall, const char *format, ...) {
  char what[256], text[384];
  va_list list;
  va_start(list, format);
  vsnprintf(what, sizeof what, format, list);
  va_end(list);
  snprintf(text, sizeof text, "%s: %s", what, strerror(error));
  napi_value message, object;
  if (napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &message) != napi_ok) return NULL;
  if (napi_create_error(env, NULL, message, &object) != napi_ok) return NULL;
  set_string(env, object, "code", uv_err_name(uv_translate_sys_error(error)));
  set_string(env, object, "syscall", syscall);
  set_number(env, object, "errno", -error);
  napi_throw(env, object);
  return NULL;
}

/* ---- arguments ---- */

bool args_get(napi_env env, napi_callback_info info, size_t count, napi_value *argv) {
  size_t given = count;
  if (napi_get_cb_info(env, info, &given, argv, NULL, NULL) != napi_ok) return false;
  if (given < count) {
    throw_type(env, "%zu arguments expected, %zu given", count, given);
    return false;
  }
  return true;
}

static bool typed_array(napi_env env, napi_value value, const char *name, napi_typedarray_type wanted,
                        const char *wanted_name, void **data, size_t *length) {
  napi_typedarray_type type;
  if (napi_get_typedarray_info(env, value, &type, length, data, NULL, NULL) != napi_ok || type != wanted) {
    throw_type(env, "%s must be a %s", name, wanted_name);
    return false;
  }
  if (*data == NULL) *length = 0;
  return true;
}

bool arg_bytes(napi_env env, napi_value value, const char *name, Bytes *out) {
  void *data = NULL;
  if (!typed_array(env, value, name, napi_uint8_array, "Uint8Array", &data, &out->length)) return false;
  out->data = data;
  return true;
}

bool arg_halves(napi_env env, napi_value value, const char *name, Halves *out) {
  void *data = NULL;
  if (!typed_array(env, value, name, napi_uint16_array, "Uint16Array", &data, &out->length)) return false;
  out->data = data;
  return true;
}

bool arg_words(napi_env env, napi_value value, const char *name, Words *out) {
  void *data = NULL;
  if (!typed_array(env, value, name, napi_uint32_array, "Uint32Array", &data, &out->length)) return false;
  out->data = data;
  return true;
}

bool arg_double(napi_env env, napi_value value, const char *name, double *out) {
  if (napi_get_value_double(env, value, out) == napi_ok) return true;
  throw_type(env, "%s must be a number", name);
  return false;
}

bool arg_uint32(napi_env env, napi_value value, const char *name, uint32_t *out) {
  double number;
  if (!arg_double(env, value, name, &number)) return false;
  if (!(number >= 0 && number <= UINT32_MAX) || number != (double)(uint32_t)number) {
    throw_range(env, "%s must be an integer from 0 to 4294967295, not %g", name, number);
    return false;
  }
  *out = (uint32_t)number;
  return true;
}

bool arg_bool(napi_env env, napi_value value, const char *name, bool *out) {
  if (napi_get_value_bool(env, value, out) == napi_ok) return true;
  throw_type(env, "%s must be a boolean", name);
  return false;
}

bool arg_string(napi_env env, napi_value value, const char *name, char *out, size_t size) {
  size_t bytes;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &bytes) != napi_ok) {
    throw_type(env, "%s must be a string", name);
    return false;
  }
  if (bytes >= size) {
    throw_range(env, "%s is longer than %zu bytes", name, size - 1);
    return false;
  }
  if (napi_get_value_string_utf8(env, value, out, size, &bytes) != napi_ok) return false;
  if (strlen(out) != bytes) {
    throw_range(env, "%s contains a NUL character", name);
    return false;
  }
  return true;
}

void *arg_handle(napi_env env, napi_value value, HandleKind kind, const char *name) {
  napi_valuetype type;
  void *data = NULL;
  if (napi_typeof(env, value, &type) == napi_ok && type == napi_external &&
      napi_get_value_external(env, value, &data) == napi_ok && data != NULL &&
      ((Handle *)data)->kind == (uint32_t)kind)
    return data;
  throw_type(env, "%s is not a handle of the right kind", name);
  return NULL;
}

bool property(napi_env env, napi_value object, const char *name, napi_value *out) {
  if (napi_get_named_property(env, object, name, out) == napi_ok) return true;
  throw_type(env, "an object with the property %s was expected", name);
  return false;
}

/* ---- results ---- */

napi_value make_number(napi_env env, double value) {
  napi_value result = NULL;
  napi_create_double(env, value, &result);
  return result;
}

napi_value make_bool(napi_env env, bool value) {
  napi_value result = NULL;
  napi_get_boolean(env, value, &result);
  return result;
}

napi_value make_object(napi_env env) {
  napi_value result = NULL;
  napi_create_object(env, &result);
  return result;
}

void set_value(napi_env env, napi_value object, const char *name, napi_value value) {
  if (value != NULL) napi_set_named_property(env, object, name, value);
}

void set_number(napi_env env, napi_value object, const char *name, double value) {
  set_value(env, object, name, make_number(env, value));
}

void set_bool(napi_env env, napi_value object, const char *name, bool value) {
  set_value(env, object, name, make_bool(env, value));
}

void set_string(napi_env env, napi_value object, const char *name, const char *value) {
  napi_value string;
  if (napi_create_string_utf8(env, value, NAPI_AUTO_LENGTH, &string) == napi_ok)
    set_value(env, object, name, string);
}

/* What the parts of the addon share: reading arguments from JavaScript, throwing errors, handles. */
#ifndef PLAIT_ADDON_H
#define PLAIT_ADDON_H

#ifndef NAPI_VERSION
#define NAPI_VERSION 8
#endif
#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Views of typed arrays; `length` counts elements. They hold good until the call returns. */
typedef struct { uint8_t *data; size_t length; } Bytes;
typedef struct { uint16_t *data; size_t length; } Halves;
typedef struct { uint32_t *data; size_t length; } Words;

/* First member of each handle's state: tells whether an external is ours and of which kind. */
typedef enum {
  HANDLE_TUN = 0x504c5401,
  HANDLE_UDP,
  HANDLE_KEY,
  HANDLE_POLL,
  HANDLE_TIMER,
} HandleKind;
typedef struct { uint32_t kind; } Handle;

/* Argument readers: false (or NULL) with a pending TypeError or RangeError when the argument is wrong. */
bool args_get(napi_env env, napi_callback_info info, size_t count, napi_value *argv);
bool arg_bytes(napi_env env, napi_value value, const char *name, Bytes *out);
bool arg_halves(napi_env env, napi_value value, const char *name, Halves *out);
bool arg_words(napi_env env, napi_value value, const char *name, Words *out);
bool arg_uint32(napi_env env, napi_value value, const char *name, uint32_t *out);
bool arg_double(napi_env env, napi_value value, const char *name, double *out);
bool arg_bool(napi_env env, napi_value value, const char *name, bool *out);
/* A string of fewer than `size` bytes, terminated. */
bool arg_string(napi_env env, napi_value value, const char *name, char *out, size_t size);
void *arg_handle(napi_env env, napi_value value, HandleKind kind, const char *name);
bool property(napi_env env, napi_value object, const char *name, napi_value *out);

#define ARGS(count) \
  napi_value argv[count]; \
  if (!args_get(env, info, count, argv)) return NULL

/* Results. Each returns NULL only with a pending exception. */
napi_value make_number(napi_env env, double value);
napi_value make_bool(napi_env env, bool value);
napi_value make_object(napi_env env);
void set_number(napi_env env, napi_value object, const char *name, double value);
void set_bool(napi_env env, napi_value object, const char *name, bool value);
void set_string(napi_env env, napi_value object, const char *name, const char *value);
void set_value(napi_env env, napi_value object, const char *name, napi_value value);

/* Each throws and returns NULL, so that `return throw_…` ends an entry point. */
napi_value throw_range(napi_env env, const char *format, ...) __attribute__((format(printf, 2, 3)));
napi_value throw_type(napi_env env, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* An Error "<text>: <meaning of error>" with `code` (errno name), `errno` (negative) and `syscall`. */
napi_value throw_errno(napi_env env, int error, const char *syscall, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

void define(napi_env env, napi_value exports, const char *name, napi_callback function);

/* Each part adds its functions to the exports. */
void tun_register(napi_env env, napi_value exports);
void udp_register(napi_env env, napi_value exports);
void aead_register(napi_env env, napi_value exports);
void poll_register(napi_env env, napi_value exports);
void netlink_register(napi_env env, napi_value exports);
void offload_register(napi_env env, napi_value exports);

#endif

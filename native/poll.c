/*
 * Readiness of descriptors and a fine timer, through the libuv loop of whichever thread calls: the main thread's or a
 * worker's. A watch lives as long as both of its owners, the JavaScript handle and libuv, may still look at it.
 */
#include "addon.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

enum { EVENT_READABLE = 1, EVENT_WRITABLE = 2, EVENT_ERROR = 4 };

typedef struct {
  Handle handle;
  napi_env env;
  uv_poll_t poll;
  napi_ref callback;
  napi_async_context context;
  napi_async_cleanup_hook_handle cleanup;
  int timer_fd; /* -1 unless this is a timer */
  int events;   /* asked for, as UV_READABLE | UV_WRITABLE */
  int owners;
  bool stopped;
} Watch;

static void watch_release(Watch *watch) {
  if (--watch->owners == 0) free(watch);
}

static void on_closed(uv_handle_t *handle) {
  Watch *watch = handle->data;
  if (watch->timer_fd >= 0) close(watch->timer_fd);
  if (watch->cleanup != NULL) napi_remove_async_cleanup_hook(watch->cleanup);
  watch_release(watch);
}

static void watch_stop(Watch *watch) {
  if (watch->stopped) return;
  watch->stopped = true;
  uv_poll_stop(&watch->poll);
  uv_close((uv_handle_t *)&watch->poll, on_closed);
  napi_delete_reference(watch->env, watch->callback);
  napi_async_destroy(watch->env, watch->context);
}

/* The environment ends (a worker is terminated, the process exits) before the watch was stopped. */
static void on_environment_end(napi_async_cleanup_hook_handle hook, void *data) {
  Watch *watch = data;
  (void)hook;
  watch_stop(watch);
}

static void watch_finalize(napi_env env, void *data, void *hint) {
  (void)env, (void)hint;
  watch_stop(data);
  watch_release(data);
}

static void call_back(Watch *watch, int events) {
  napi_env env = watch->env;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value callback, receiver, argument, error;
  bool pending = false;
  if (napi_get_reference_value(env, watch->callback, &callback) == napi_ok &&
      napi_get_global(env, &receiver) == napi_ok && napi_create_int32(env, events, &argument) == napi_ok) {
    napi_make_callback(env, watch->context, receiver, callback, 1, &argument, NULL);
    if (napi_is_exception_pending(env, &pending) == napi_ok && pending &&
        napi_get_and_clear_last_exception(env, &error) == napi_ok)
      napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
}

static void on_ready(uv_poll_t *poll, int status, int uv_events) {
  Watch *watch = poll->data;
  if (watch->timer_fd >= 0) {
    uint64_t expirations;
    if (read(watch->timer_fd, &expirations, sizeof expirations) == sizeof expirations) call_back(watch, 0);
    return;
  }
  int events = 0;
  if (status < 0) {
    /* libuv takes POLLERR for a broken descriptor and stops; to a UDP socket it says that an error is queued. */
    uv_poll_start(poll, watch->events, on_ready);
    events = EVENT_READABLE | EVENT_ERROR;
  }
  if (uv_events & UV_READABLE) events |= EVENT_READABLE;
  if (uv_events & UV_WRITABLE) events |= EVENT_WRITABLE;
  if (events != 0) call_back(watch, events);
}

/* Makes a watch of `fd`; takes over `timer_fd`. Returns the JavaScript handle, or NULL with an exception. */
static napi_value watch_new(napi_env env, HandleKind kind, int fd, int timer_fd, int events, napi_value callback) {
  uv_loop_t *loop = NULL;
  napi_value name, result = NULL;
  Watch *watch = calloc(1, sizeof *watch);
  if (watch == NULL || napi_get_uv_event_loop(env, &loop) != napi_ok) {
    free(watch);
    if (timer_fd >= 0) close(timer_fd);
    return throw_errno(env, ENOMEM, "poll", "watching descriptor %d", fd);
  }
  int error = uv_poll_init(loop, &watch->poll, fd);
  if (error != 0) {
    free(watch);
    if (timer_fd >= 0) close(timer_fd);
    return throw_errno(env, -error, "poll", "watching descriptor %d", fd);
  }
  watch->handle.kind = kind;
  watch->env = env;
  watch->poll.data = watch;
  watch->timer_fd = timer_fd;
  watch->events = events;
  watch->owners = 1;
  napi_create_reference(env, callback, 1, &watch->callback);
  napi_create_string_utf8(env, kind == HANDLE_TIMER ? "plait:timer" : "plait:poll", NAPI_AUTO_LENGTH, &name);
  napi_async_init(env, NULL, name, &watch->context);
  napi_add_async_cleanup_hook(env, on_environment_end, watch, &watch->cleanup);
  watch->owners++;
  if (napi_create_external(env, watch, watch_finalize, NULL, &result) != napi_ok) {
    watch->owners--;
    watch_stop(watch);
    return NULL;
  }
  if (events != 0 && (error = uv_poll_start(&watch->poll, events, on_ready)) != 0) {
    watch_stop(watch);
    return throw_errno(env, -error, "poll", "watching descriptor %d", fd);
  }
  return result;
}

static bool arg_function(napi_env env, napi_value value) {
  napi_valuetype type;
  if (napi_typeof(env, value, &type) == napi_ok && type == napi_function) return true;
  throw_type(env, "callback must be a function");
  return false;
}

static bool arg_events(napi_env env, napi_value value, int *out) {
  uint32_t events;
  if (!arg_uint32(env, value, "events", &events)) return false;
  if (events > (EVENT_READABLE | EVENT_WRITABLE)) {
    throw_range(env, "events are 1 (readable) and 2 (writable), not %u", events);
    return false;
  }
  *out = (events & EVENT_READABLE ? UV_READABLE : 0) | (events & EVENT_WRITABLE ? UV_WRITABLE : 0);
  return true;
}

/* A watch that has not been stopped. */
static Watch *arg_watch(napi_env env, napi_value value, HandleKind kind, const char *name) {
  Watch *watch = arg_handle(env, value, kind, name);
  if (watch == NULL || !watch->stopped) return watch;
  throw_range(env, "the %s is stopped", name);
  return NULL;
}

static napi_value poll_start(napi_env env, napi_callback_info info) {
  ARGS(3);
  uint32_t fd;
  int events;
  if (!arg_uint32(env, argv[0], "fd", &fd) || !arg_events(env, argv[1], &events) || !arg_function(env, argv[2]))
    return NULL;
  if (fd > INT32_MAX) return throw_range(env, "%u is no descriptor", fd);
  return watch_new(env, HANDLE_POLL, (int)fd, -1, events, argv[2]);
}

static napi_value poll_change(napi_env env, napi_callback_info info) {
  ARGS(2);
  int events;
  Watch *watch = arg_watch(env, argv[0], HANDLE_POLL, "poll");
  if (watch == NULL || !arg_events(env, argv[1], &events)) return NULL;
  watch->events = events;
  int error = events == 0 ? uv_poll_stop(&watch->poll) : uv_poll_start(&watch->poll, events, on_ready);
  if (error != 0) return throw_errno(env, -error, "poll", "changing a watch");
  return NULL;
}

static napi_value poll_stop(napi_env env, napi_callback_info info) {
  ARGS(1);
  Watch *watch = arg_handle(env, argv[0], HANDLE_POLL, "poll");
  if (watch != NULL) watch_stop(watch);
  return NULL;
}

static napi_value timer_start(napi_env env, napi_callback_info info) {
  ARGS(1);
  if (!arg_function(env, argv[0])) return NULL;
  int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (fd < 0) return throw_errno(env, errno, "timerfd_create", "timer");
  return watch_new(env, HANDLE_TIMER, fd, fd, UV_READABLE, argv[0]);
}

static napi_value timer_arm(napi_env env, napi_callback_info info) {
  ARGS(2);
  double us;
  Watch *watch = arg_watch(env, argv[0], HANDLE_TIMER, "timer");
  if (watch == NULL || !arg_double(env, argv[1], "microseconds", &us)) return NULL;
  if (us != us) return throw_range(env, "microseconds must not be NaN");
  struct itimerspec when = {0};
  /* Infinity means that there is nothing to wait for, and so does anything beyond thirty years. */
  if (us >= 0 && us < 1e15) {
    uint64_t ns = (uint64_t)(us * 1e3);
    if (ns == 0) ns = 1; /* 0 would disarm */
    when.it_value.tv_sec = (time_t)(ns / 1000000000u);
    when.it_value.tv_nsec = (long)(ns % 1000000000u);
  }
  if (timerfd_settime(watch->timer_fd, 0, &when, NULL) < 0)
    return throw_errno(env, errno, "timerfd_settime", "timer");
  return NULL;
}

static napi_value timer_stop(napi_env env, napi_callback_info info) {
  ARGS(1);
  Watch *watch = arg_handle(env, argv[0], HANDLE_TIMER, "timer");
  if (watch != NULL) watch_stop(watch);
  return NULL;
}

static napi_value monotonic_us(napi_env env, napi_callback_info info) {
  (void)info;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return make_number(env, (double)((int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000));
}

void poll_register(napi_env env, napi_value exports) {
  define(env, exports, "pollStart", poll_start);
  define(env, exports, "pollChange", poll_change);
  define(env, exports, "pollStop", poll_stop);
  define(env, exports, "timerStart", timer_start);
  define(env, exports, "timerArm", timer_arm);
  define(env, exports, "timerStop", timer_stop);
  define(env, exports, "monotonicUs", monotonic_us);
}

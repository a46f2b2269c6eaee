/*
 * A route netlink socket that only says "something changed": links, addresses, routes. What changed is asked for
 * with `ip -json` by whoever cares, so no message is parsed here.
 */
#include "addon.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* The descriptors opened by one environment: closeFd closes these and no others, its end closes what is left. */
enum { OPEN_MAX = 16 };
typedef struct { int fds[OPEN_MAX]; } OpenFds;

static void open_fds_finalize(napi_env env, void *data, void *hint) {
  (void)env, (void)hint;
  OpenFds *open = data;
  for (int i = 0; i < OPEN_MAX; i++)
    if (open->fds[i] >= 0) close(open->fds[i]);
  free(open);
}

static OpenFds *open_fds(napi_env env) {
  void *data = NULL;
  napi_get_instance_data(env, &data);
  return data;
}

/* The place of `fd` in the table, or -1. */
static int open_index(const OpenFds *open, int fd) {
  for (int i = 0; open != NULL && i < OPEN_MAX; i++)
    if (open->fds[i] == fd) return i;
  return -1;
}

static napi_value netlink_open(napi_env env, napi_callback_info info) {
  (void)info;
  OpenFds *open = open_fds(env);
  int place = open_index(open, -1);
  if (place < 0) return throw_errno(env, EMFILE, "socket", "more than %d route netlink sockets", OPEN_MAX);
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return throw_errno(env, errno, "socket", "route netlink socket");
  struct sockaddr_nl address = {.nl_family = AF_NETLINK,
                                .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
                                             RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE};
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
    int error = errno;
    close(fd);
    return throw_errno(env, error, "bind", "route netlink socket");
  }
  open->fds[place] = fd;
  napi_value result = make_object(env);
  if (result != NULL) set_number(env, result, "fd", fd);
  return result;
}

static bool arg_open_fd(napi_env env, napi_value value, int *place, int *fd) {
  uint32_t number;
  if (!arg_uint32(env, value, "fd", &number)) return false;
  *fd = (int)number;
  if (number <= INT32_MAX && (*place = open_index(open_fds(env), *fd)) >= 0) return true;
  throw_range(env, "descriptor %u was not opened by netlinkOpen", number);
  return false;
}

static napi_value netlink_drain(napi_env env, napi_callback_info info) {
  ARGS(1);
  int fd, place;
  if (!arg_open_fd(env, argv[0], &place, &fd)) return NULL;
  bool any = false;
  char rest[1];
  /* MSG_TRUNC throws away what does not fit. Bounded, since a storm of changes must not hold up the loop. */
  for (int i = 0; i < 1024; i++) {
    ssize_t n = recv(fd, rest, sizeof rest, MSG_TRUNC | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    /* ENOBUFS: messages were lost, so there were some. */
    if (n < 0 && errno != ENOBUFS) break;
    any = true;
  }
  return make_bool(env, any);
}

static napi_value close_fd(napi_env env, napi_callback_info info) {
  ARGS(1);
  int fd, place;
  if (!arg_open_fd(env, argv[0], &place, &fd)) return NULL;
  open_fds(env)->fds[place] = -1;
  close(fd);
  return NULL;
}

void netlink_register(napi_env env, napi_value exports) {
  OpenFds *open = malloc(sizeof *open);
  if (open != NULL) {
    for (int i = 0; i < OPEN_MAX; i++) open->fds[i] = -1;
    if (napi_set_instance_data(env, open, open_fds_finalize, NULL) != napi_ok) free(open);
  }
  define(env, exports, "netlinkOpen", netlink_open);
  define(env, exports, "netlinkDrain", netlink_drain);
  define(env, exports, "closeFd", close_fd);
}

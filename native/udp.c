/* Opening and closing UDP sockets and their figures. */
#include "udp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void udp_finalize(napi_env env, void *data, void *hint) {
  (void)env, (void)hint;
  Udp *udp = data;
  if (udp->fd >= 0) close(udp->fd);
  free(udp->scratch);
  free(udp);
}

Udp *arg_udp(napi_env env, napi_value value) {
  Udp *udp = arg_handle(env, value, HANDLE_UDP, "socket");
  if (udp == NULL || udp->fd >= 0) return udp;
  throw_range(env, "the socket is closed");
  return NULL;
}

typedef struct {
  char device[IFNAMSIZ], address[INET6_ADDRSTRLEN + IFNAMSIZ + 1];
  uint32_t port, receive_bytes, send_bytes;
  bool offload, reuse;
} OpenOptions;

static bool options_get(napi_env env, napi_value object, OpenOptions *o) {
  napi_value v;
  return property(env, object, "device", &v) && arg_string(env, v, "device", o->device, sizeof o->device) &&
         property(env, object, "address", &v) && arg_string(env, v, "address", o->address, sizeof o->address) &&
         property(env, object, "port", &v) && arg_uint32(env, v, "port", &o->port) &&
         property(env, object, "receiveBufferBytes", &v) &&
         arg_uint32(env, v, "receiveBufferBytes", &o->receive_bytes) &&
         property(env, object, "sendBufferBytes", &v) && arg_uint32(env, v, "sendBufferBytes", &o->send_bytes) &&
         property(env, object, "offload", &v) && arg_bool(env, v, "offload", &o->offload) &&
         property(env, object, "reuseAddress", &v) && arg_bool(env, v, "reuseAddress", &o->reuse);
}

/* "address" or "address%device" for link-local IPv6; empty leaves the wildcard. False: neither IPv4 nor IPv6. */
static bool address_parse(const char *text, uint16_t port, struct sockaddr_storage *out, int *family) {
  struct sockaddr_in *v4 = (struct sockaddr_in *)out;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
  memset(out, 0, sizeof *out);
  if (text[0] != 0 && inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    *family = AF_INET;
    return true;
  }
  char plain[INET6_ADDRSTRLEN + IFNAMSIZ + 1];
  memcpy(plain, text, strlen(text) + 1);
  char *scope = strchr(plain, '%');
  if (scope != NULL) *scope++ = 0;
  memset(out, 0, sizeof *out);
  if (text[0] != 0 && inet_pton(AF_INET6, plain, &v6->sin6_addr) != 1) return false;
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(port);
  if (scope != NULL) v6->sin6_scope_id = if_nametoindex(scope);
  *family = AF_INET6;
  return true;
}

static bool option_set(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

static void buffers_set(int fd, const OpenOptions *o) {
  /* FORCE goes beyond net.core.*mem_max but needs CAP_NET_ADMIN; without it the kernel gives what it may. */
  if (o->receive_bytes > 0 && o->receive_bytes <= INT32_MAX && !option_set(fd, SOL_SOCKET, SO_RCVBUFFORCE, (int)o->receive_bytes))
    option_set(fd, SOL_SOCKET, SO_RCVBUF, (int)o->receive_bytes);
  if (o->send_bytes > 0 && o->send_bytes <= INT32_MAX && !option_set(fd, SOL_SOCKET, SO_SNDBUFFORCE, (int)o->send_bytes))
    option_set(fd, SOL_SOCKET, SO_SNDBUF, (int)o->send_bytes);
}

/* Options that the socket works without, less well: errors are ignored on purpose. An IPv6 socket needs both levels. */
static void options_set(int fd, int family) {
  option_set(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1);
  option_set(fd, SOL_SOCKET, SO_RXQ_OVFL, 1);
  /* DF set, and path-MTU knowledge of the kernel not applied: datagrams of any size up to the device's may probe. */
  option_set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
  option_set(fd, IPPROTO_IP, IP_RECVERR, 1);
  option_set(fd, IPPROTO_IP, IP_RECVTOS, 1);
  option_set(fd, IPPROTO_IP, IP_PKTINFO, 1);
  if (family != AF_INET6) return;
  option_set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
  option_set(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
  option_set(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
  option_set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
}

static napi_value open_failed(napi_env env, int fd, const char *syscall, const OpenOptions *o) {
  int error = errno;
  if (fd >= 0) close(fd);
  return throw_errno(env, error, syscall, "%s of a UDP socket%s%s%s%s port %u", syscall,
                     o->device[0] ? " on device " : "", o->device, o->address[0] ? " with address " : "", o->address,
                     o->port);
}

static napi_value udp_open(napi_env env, napi_callback_info info) {
  ARGS(1);
  OpenOptions o = {0};
  if (!options_get(env, argv[0], &o)) return NULL;
  if (o.port > 65535) return throw_range(env, "port %u is above 65535", o.port);
  struct sockaddr_storage local;
  int family, fd;
  if (!address_parse(o.address, (uint16_t)o.port, &local, &family))
    return throw_range(env, "%s is neither an IPv4 nor an IPv6 address", o.address);
  /* No address, or [::]: all addresses of both families. */
  int any = family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&((struct sockaddr_in6 *)&local)->sin6_addr);
  fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
  if (fd < 0 && any) {
    /* A kernel without IPv6. */
    family = AF_INET;
    memset(&local, 0, sizeof local);
    local.ss_family = AF_INET;
    ((struct sockaddr_in *)&local)->sin_port = htons((uint16_t)o.port);
    fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
  }
  if (fd < 0) return open_failed(env, fd, "socket", &o);
  /* Whatever net.ipv6.bindv6only says. */
  if (any && family == AF_INET6 && !option_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0))
    return open_failed(env, fd, "setsockopt", &o);
  /* The address of a link may come later, as its device may: until then the kernel refuses what is sent. */
  if (o.device[0] && o.address[0]) option_set(fd, IPPROTO_IP, IP_FREEBIND, 1);
  if (o.reuse && !option_set(fd, SOL_SOCKET, SO_REUSEADDR, 1)) return open_failed(env, fd, "setsockopt", &o);
  if (o.device[0] && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, o.device, (socklen_t)strlen(o.device) + 1) < 0)
    return open_failed(env, fd, "setsockopt", &o);
  buffers_set(fd, &o);
  options_set(fd, family);
  socklen_t size = family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
  if (bind(fd, (struct sockaddr *)&local, size) < 0) return open_failed(env, fd, "bind", &o);
  if (getsockname(fd, (struct sockaddr *)&local, &size) < 0) return open_failed(env, fd, "getsockname", &o);

  Udp *udp = calloc(1, sizeof *udp);
  napi_value handle, result;
  if (udp == NULL || (udp->scratch = udp_scratch_new()) == NULL) {
    free(udp);
    errno = ENOMEM;
    return open_failed(env, fd, "socket", &o);
  }
  udp->handle.kind = HANDLE_UDP;
  udp->fd = fd;
  udp->family = family;
  udp->receive_messages_max = UINT32_MAX;
  udp->gso = o.offload && option_set(fd, SOL_UDP, UDP_SEGMENT, 0);
  udp->gro = o.offload && option_set(fd, SOL_UDP, UDP_GRO, 1);
  if (napi_create_external(env, udp, udp_finalize, NULL, &handle) != napi_ok) {
    udp_finalize(env, udp, NULL);
    return NULL;
  }
  if ((result = make_object(env)) == NULL) return NULL;
  set_value(env, result, "handle", handle);
  set_number(env, result, "fd", fd);
  set_number(env, result, "port",
             ntohs(family == AF_INET6 ? ((struct sockaddr_in6 *)&local)->sin6_port
                                      : ((struct sockaddr_in *)&local)->sin_port));
  set_bool(env, result, "gso", udp->gso);
  set_bool(env, result, "gro", udp->gro);
  return result;
}

void address_put(uint32_t *record, const struct sockaddr_storage *address) {
  memset(record + ADDRESS_REMOTE, 0, 16);
  if (address->ss_family == AF_INET) {
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    record[ADDRESS_FAMILY_PORT] = 4 | (uint32_t)ntohs(v4->sin_port) << 16;
    memcpy(record + ADDRESS_REMOTE, &v4->sin_addr, 4);
    return;
  }
  const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
  if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
    record[ADDRESS_FAMILY_PORT] = 4 | (uint32_t)ntohs(v6->sin6_port) << 16;
    memcpy(record + ADDRESS_REMOTE, v6->sin6_addr.s6_addr + 12, 4);
    return;
  }
  record[ADDRESS_FAMILY_PORT] = 6 | (uint32_t)ntohs(v6->sin6_port) << 16;
  memcpy(record + ADDRESS_REMOTE, &v6->sin6_addr, 16);
}

static napi_value udp_stats(napi_env env, napi_callback_info info) {
  ARGS(1);
  Udp *udp = arg_handle(env, argv[0], HANDLE_UDP, "socket");
  napi_value result;
  if (udp == NULL || (result = make_object(env)) == NULL) return NULL;
  set_bool(env, result, "gso", udp->gso);
  set_bool(env, result, "gro", udp->gro);
  set_number(env, result, "gsoErrno", udp->gso_errno);
  set_number(env, result, "sentDatagrams", udp->sent_datagrams);
  set_number(env, result, "sentMessages", udp->sent_messages);
  set_number(env, result, "receivedDatagrams", udp->received_datagrams);
  set_number(env, result, "receivedMessages", udp->received_messages);
  set_number(env, result, "sendRefused", udp->send_refused);
  set_number(env, result, "lastSendErrno", udp->last_send_errno);
  set_number(env, result, "receiveDropped", udp->receive_dropped);
  set_number(env, result, "receiveOverflow", udp->receive_overflow);
  return result;
}

/* A socket stays bound to the index that its device had; the name may have another one since. */
static napi_value udp_bind_device(napi_env env, napi_callback_info info) {
  ARGS(2);
  Udp *udp = arg_handle(env, argv[0], HANDLE_UDP, "socket");
  char device[IFNAMSIZ];
  if (udp == NULL || !arg_string(env, argv[1], "device", device, sizeof device)) return NULL;
  return make_bool(env, udp->fd >= 0 && setsockopt(udp->fd, SOL_SOCKET, SO_BINDTODEVICE, device,
                                                   (socklen_t)strlen(device) + 1) == 0);
}

static napi_value udp_close(napi_env env, napi_callback_info info) {
  ARGS(1);
  Udp *udp = arg_handle(env, argv[0], HANDLE_UDP, "socket");
  if (udp == NULL || udp->fd < 0) return NULL;
  close(udp->fd);
  udp->fd = -1;
  return NULL;
}

void udp_register(napi_env env, napi_value exports) {
  define(env, exports, "udpOpen", udp_open);
  define(env, exports, "udpSend", udp_send);
  define(env, exports, "udpReceive", udp_receive);
  define(env, exports, "udpError", udp_error);
  define(env, exports, "udpStats", udp_stats);
  define(env, exports, "udpBindDevice", udp_bind_device);
  define(env, exports, "udpClose", udp_close);
  define(env, exports, "udpFault", udp_fault);
}

#define _GNU_SOURCE
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

// The device's own queue must never be the bottleneck: the emulated one is.
#define TAP_QUEUE_FRAMES 8000

static void fail(const char *what, const char *where)
{
    fprintf(stderr, "plait-wan: %s for %s: %s\n", what, where, strerror(errno));
    exit(1);
}

int tap_open(const char *where, int mtu)
{
    const char *slash = strchr(where, '/');
    if (!slash || slash[1] == 0 || strlen(slash + 1) >= IFNAMSIZ) {
        fprintf(stderr, "plait-wan: \"%s\" is not NAMESPACE/DEVICE\n", where);
        exit(2);
    }
    char path[256];
    snprintf(path, sizeof path, "/run/netns/%.*s", (int)(slash - where), where);
    int netns = open(path, O_RDONLY | O_CLOEXEC);
    if (netns < 0) fail("cannot open the network namespace", where);
    if (setns(netns, CLONE_NEWNET) < 0) fail("cannot enter the network namespace", where);
    close(netns);

    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) fail("cannot open /dev/net/tun", where);
    struct ifreq request = {0};
    strncpy(request.ifr_name, slash + 1, IFNAMSIZ - 1);
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL;
    if (ioctl(fd, TUNSETIFF, &request) < 0) fail("cannot create the TAP device", where);
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (control < 0) fail("cannot open a socket", where);
    request.ifr_mtu = mtu;
    if (ioctl(control, SIOCSIFMTU, &request) < 0) fail("cannot set the MTU", where);
    request.ifr_qlen = TAP_QUEUE_FRAMES;
    if (ioctl(control, SIOCSIFTXQLEN, &request) < 0) fail("cannot set the queue length", where);
    if (ioctl(control, SIOCGIFFLAGS, &request) < 0) fail("cannot read the flags", where);
    request.ifr_flags |= IFF_UP;
    if (ioctl(control, SIOCSIFFLAGS, &request) < 0) fail("cannot bring the device up", where);
    close(control);
    return fd;
}

bool tap_carrier(int fd, bool on)
{
    int value = on;
    return ioctl(fd, TUNSETCARRIER, &value) == 0;
}

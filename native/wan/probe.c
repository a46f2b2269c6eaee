// plait-probe: the lab's measuring that ordinary clients do not do.
//
//   plait-probe send ADDRESS PORT BYTES PACKETS_PER_SECOND SECONDS
//       numbered, time-stamped UDP packets at a steady pace; prints {"sent":N} at the end
//   plait-probe receive ADDRESS PORT FILE
//       "ready" once it listens; writes a record per packet until SIGTERM: number, sent, arrived (u64 little endian,
//       ns of CLOCK_MONOTONIC, which is one for all namespaces of a machine), from the kernel's receive stamp
//   plait-probe counters MILLISECONDS DEVICE FILE
//       a record every so often: time in ns, bytes received, bytes sent, packets received, packets sent (u64) of a
//       network device; bytes 2^64-1 while there is no such device
//
// Raw records go to a file: what they mean is decided in TypeScript. ADDRESS is numeric, IPv4 or IPv6.
#define _GNU_SOURCE
#include "priority.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct header { uint64_t number, sent; };
#define PACKET_BYTES_MAX 9000

static volatile sig_atomic_t stopped;
static void on_signal(int number) { (void)number; stopped = 1; }

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
    struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR && !stopped) {}
}

static void fail(const char *what)
{
    fprintf(stderr, "plait-probe: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int udp_socket(const char *address, const char *port, int listening)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_DGRAM}, *found;
    if (getaddrinfo(address, port, &hints, &found) != 0) {
        fprintf(stderr, "plait-probe: %s port %s is no numeric address\n", address, port);
        exit(2);
    }
    int fd = socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) fail("socket");
    int bytes = 8 << 20;
    if (listening) {
        if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) < 0)
            setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
        if (bind(fd, found->ai_addr, found->ai_addrlen) < 0) fail("bind");
    } else if (connect(fd, found->ai_addr, found->ai_addrlen) < 0) fail("connect");
    freeaddrinfo(found);
    return fd;
}

static int send_packets(char **argv)
{
    static uint8_t packet[PACKET_BYTES_MAX];
    int fd = udp_socket(argv[0], argv[1], 0);
    size_t bytes = strtoul(argv[2], NULL, 10);
    double per_second = strtod(argv[3], NULL), seconds = strtod(argv[4], NULL);
    if (bytes < sizeof(struct header) || bytes > sizeof packet || per_second <= 0 || seconds <= 0) return 2;
    struct header header = {0};
    uint64_t start = clock_ns(CLOCK_MONOTONIC), total = (uint64_t)(per_second * seconds + 0.5);
    while (header.number < total && !stopped) {
        // Those that are due go at once; after a pause of the machine the pace is caught up with, none is left out.
        uint64_t now = clock_ns(CLOCK_MONOTONIC);
        uint64_t due = start + (uint64_t)((double)header.number * 1e9 / per_second);
        if (due > now) {
            sleep_until(due);
            continue;
        }
        header.sent = now;
        memcpy(packet, &header, sizeof header);
        // ECONNREFUSED and the like: the packet counts as sent, for the network's refusal is what is measured.
        if (send(fd, packet, bytes, 0) < 0 && errno == EINTR) continue;
        header.number++;
    }
    printf("{\"sent\":%llu}\n", (unsigned long long)header.number);
    return 0;
}

static int receive_packets(char **argv)
{
    static uint8_t packet[PACKET_BYTES_MAX];
    int fd = udp_socket(argv[0], argv[1], 1), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    FILE *file = fopen(argv[2], "we");
    if (!file) fail(argv[2]);
    puts("ready");
    fflush(stdout);
    while (!stopped) {
        char control[128];
        struct iovec part = {packet, sizeof packet};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        ssize_t n = recvmsg(fd, &message, 0);
        if (n < (ssize_t)sizeof(struct header)) continue;
        uint64_t now = clock_ns(CLOCK_MONOTONIC), wall = clock_ns(CLOCK_REALTIME), age = 0;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
            if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS) continue;
            struct timespec t;
            memcpy(&t, CMSG_DATA(c), sizeof t);
            uint64_t stamp = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
            // The stamp is wall clock; only its age is used, and only if the wall clock has not been moved.
            if (wall > stamp && wall - stamp < 1000000000u) age = wall - stamp;
        }
        struct header header;
        memcpy(&header, packet, sizeof header);
        uint64_t record[3] = {header.number, header.sent, now - age};
        fwrite(record, sizeof record, 1, file);
    }
    return fclose(file) == 0 ? 0 : 1;
}

static uint64_t read_counter(const char *device, const char *name)
{
    char path[160], text[32] = "";
    snprintf(path, sizeof path, "/sys/class/net/%s/statistics/%s", device, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return UINT64_MAX;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    return n > 0 ? strtoull(text, NULL, 10) : UINT64_MAX;
}

static int sample_counters(char **argv)
{
    uint64_t step = strtoull(argv[0], NULL, 10) * 1000000u;
    if (step == 0) return 2;
    FILE *file = fopen(argv[2], "we");
    if (!file) fail(argv[2]);
    setvbuf(file, NULL, _IONBF, 0); // read while it grows
    for (uint64_t next = clock_ns(CLOCK_MONOTONIC); !stopped;) {
        uint64_t record[5] = {0, read_counter(argv[1], "rx_bytes"), read_counter(argv[1], "tx_bytes"),
                              read_counter(argv[1], "rx_packets"), read_counter(argv[1], "tx_packets")};
        record[0] = clock_ns(CLOCK_MONOTONIC);
        if (fwrite(record, sizeof record, 1, file) != 1) return 1;
        next += step;
        if (next < record[0]) next = record[0] + step - (record[0] - next) % step;
        sleep_until(next);
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    prctl(PR_SET_TIMERSLACK, 1ul);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    priority_raise(); // measuring comes before what is measured; without root it is less exact
    if (argc == 7 && !strcmp(argv[1], "send")) return send_packets(argv + 2);
    if (argc == 5 && !strcmp(argv[1], "receive")) return receive_packets(argv + 2);
    if (argc == 5 && !strcmp(argv[1], "counters")) return sample_counters(argv + 2);
    fprintf(stderr, "usage: plait-probe send ADDRESS PORT BYTES PACKETS_PER_SECOND SECONDS\n"
                    "       plait-probe receive ADDRESS PORT FILE\n"
                    "       plait-probe counters MILLISECONDS DEVICE FILE\n");
    return 2;
}

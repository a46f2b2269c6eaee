// plait-wan: one emulated uplink between two network namespaces, in a process of its own.
//
//   plait-wan NAMESPACE/DEVICE NAMESPACE/DEVICE SEED MTU
//
// Creates a TAP device in each namespace and carries Ethernet frames between them as native/wan/direction.h says.
// Direction "ab" is what the first end sends to the second. Commands come as lines on standard input; each is
// answered by one line of JSON. The end of standard input ends the process, and with it the devices, so an emulator
// never outlives the one who started it.
//
//   set ab|ba|both KEY=VALUE...      rate (bit/s, -1 unlimited, 0 stands still), overhead (bytes), delay, jitter,
//                                    jitter-hold, reorder-by, queue-time (ns), keep-order (0|1), loss, duplicate,
//                                    reorder (share 0..1), loss-burst (frames), queue-bytes, queue-frames (-1 none), mtu
//   trace ab|ba|both PERIOD AFTER:RATE...   rates from now on, in ns and bit/s; period 0: once
//   down|up ab|ba|both               a silent black hole and its end
//   carrier a|b|both on|off          the cable
//   stats                            counters;  reset  sets them to nought
#define _GNU_SOURCE
#include "direction.h"
#include "priority.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define FRAMES_PER_TURN 64
#define FRAMES_MAX 131072 // 200 MB at 1500 bytes: 1 Gbit/s for a second and a half
#define LINE_BYTES_MAX (1 << 20)
// Deliveries closer together than this share a wake-up; it bounds what the emulator adds to the delay.
#define WAKEUP_SLACK 30000

static struct direction directions[2];
static const char *const direction_names[2] = {"ab", "ba"};
static int taps[2];

static const char *direction_bits(const char *word, unsigned *bits)
{
    *bits = !word ? 0 : !strcmp(word, "ab") ? 1 : !strcmp(word, "ba") ? 2 : !strcmp(word, "both") ? 3 : 0;
    return *bits ? NULL : "direction is ab, ba or both";
}

// ---- commands; each returns NULL or what is wrong

static const char *set_key(struct direction *d, const char *key, const char *text, nanoseconds now)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end) return "value is not a number";
    if (!strcmp(key, "rate")) direction_set_rate(d, value < 0 ? RATE_UNLIMITED : (int64_t)value, now);
    else if (!strcmp(key, "overhead")) {
        if (d->head) return "overhead cannot change while frames wait";
        d->overhead = (int)value;
    } else if (!strcmp(key, "delay")) d->delay = (nanoseconds)value;
    else if (!strcmp(key, "jitter")) d->jitter = (nanoseconds)value, d->jitter_until = 0;
    else if (!strcmp(key, "jitter-hold")) d->jitter_hold = (nanoseconds)value;
    else if (!strcmp(key, "keep-order")) d->keep_order = value != 0;
    else if (!strcmp(key, "loss")) d->loss = value;
    else if (!strcmp(key, "loss-burst")) d->loss_burst = value, d->burst_on = false;
    else if (!strcmp(key, "duplicate")) d->duplicate = value;
    else if (!strcmp(key, "reorder")) d->reorder = value;
    else if (!strcmp(key, "reorder-by")) d->reorder_by = (nanoseconds)value;
    else if (!strcmp(key, "queue-bytes")) d->queue_bytes = (int64_t)value;
    else if (!strcmp(key, "queue-frames")) d->queue_frames = (int64_t)value;
    else if (!strcmp(key, "queue-time")) d->queue_time = (nanoseconds)value;
    else if (!strcmp(key, "mtu")) d->mtu = (int)value;
    else return "unknown key";
    return NULL;
}

static const char *command_set(char **rest)
{
    unsigned bits;
    const char *fault = direction_bits(strtok_r(NULL, " ", rest), &bits);
    nanoseconds now = monotonic_now();
    for (char *word; !fault && (word = strtok_r(NULL, " ", rest));) {
        char *value = strchr(word, '=');
        if (!value) return "expected KEY=VALUE";
        *value++ = 0;
        for (int i = 0; i < 2 && !fault; i++)
            if (bits & 1u << i) fault = set_key(&directions[i], word, value, now);
    }
    return fault;
}

static const char *command_trace(char **rest)
{
    unsigned bits;
    const char *fault = direction_bits(strtok_r(NULL, " ", rest), &bits);
    if (fault) return fault;
    char *word = strtok_r(NULL, " ", rest);
    nanoseconds period = word ? strtoll(word, NULL, 10) : -1;
    if (period < 0 || (period > 0 && period < 1000000)) return "period is 0 or at least 1 ms";
    size_t length = 0, capacity = 0;
    struct trace_point *points = NULL;
    while (!fault && (word = strtok_r(NULL, " ", rest))) {
        char *colon;
        struct trace_point point = {.after = strtoll(word, &colon, 10)};
        if (*colon != ':') fault = "expected AFTER:RATE";
        else point.bits_per_second = strtoll(colon + 1, NULL, 10);
        if (length > 0 && point.after <= points[length - 1].after) fault = "points of a trace must rise";
        if (period > 0 && point.after >= period) fault = "a point lies behind the period";
        if (length == capacity) {
            capacity = capacity ? capacity * 2 : 256;
            struct trace_point *grown = realloc(points, capacity * sizeof *grown);
            if (!grown) fault = "out of memory";
            else points = grown;
        }
        if (!fault) points[length++] = point;
    }
    if (!fault && length == 0) fault = "a trace needs a point";
    nanoseconds now = monotonic_now();
    for (int i = 0; i < 2 && !fault; i++) {
        if (!(bits & 1u << i)) continue;
        struct trace_point *own = malloc(length * sizeof *own);
        if (!own) fault = "out of memory";
        else direction_trace(&directions[i], memcpy(own, points, length * sizeof *own), length, period, now);
    }
    free(points);
    return fault;
}

static const char *command_blackhole(char **rest, bool on)
{
    unsigned bits;
    const char *fault = direction_bits(strtok_r(NULL, " ", rest), &bits);
    for (int i = 0; i < 2 && !fault; i++) {
        if (!(bits & 1u << i)) continue;
        direction_advance(&directions[i], monotonic_now());
        directions[i].blackhole = on;
        if (on) direction_flush(&directions[i]);
    }
    return fault;
}

static const char *command_carrier(char **rest)
{
    const char *which = strtok_r(NULL, " ", rest), *state = strtok_r(NULL, " ", rest);
    if (!which || !state || (strcmp(state, "on") && strcmp(state, "off"))) return "expected carrier a|b|both on|off";
    for (int i = 0; i < 2; i++)
        if (!strcmp(which, "both") || !strcmp(which, i ? "b" : "a"))
            if (!tap_carrier(taps[i], !strcmp(state, "on"))) return strerror(errno);
    return NULL;
}

static int print_stats(char *out, size_t capacity)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    size_t n = (size_t)snprintf(out, capacity, "{\"nowNs\":%lld,\"cpuUs\":%lld", (long long)monotonic_now(),
        (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000LL + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    for (int i = 0; i < 2; i++) {
        const struct direction *d = &directions[i];
#define U(x) (unsigned long long)(x)
        n += (size_t)snprintf(out + n, capacity - n,
            ",\"%s\":{\"inFrames\":%llu,\"inBytes\":%llu,\"outFrames\":%llu,\"outBytes\":%llu,\"droppedQueue\":%llu,"
            "\"droppedLoss\":%llu,\"droppedBlackhole\":%llu,\"droppedSize\":%llu,\"droppedMemory\":%llu,\"droppedWrite\":%llu,"
            "\"duplicated\":%llu,\"reordered\":%llu,\"waitingBytes\":%llu,\"waitingBytesMax\":%llu,\"inFlight\":%llu,"
            "\"rateBitsPerSec\":%lld,\"blackhole\":%s,\"lateUsMax\":%.1f,\"lateUsMean\":%.1f}",
            direction_names[i], U(d->in_frames), U(d->in_bytes), U(d->out_frames), U(d->out_bytes), U(d->dropped_queue),
            U(d->dropped_loss), U(d->dropped_blackhole), U(d->dropped_size), U(d->dropped_memory), U(d->dropped_write),
            U(d->duplicated), U(d->reordered), U(d->waiting_bytes), U(d->waiting_bytes_max), U(d->flight_count),
            (long long)d->rate, d->blackhole ? "true" : "false", (double)d->late_max / 1e3,
            d->out_frames ? d->late_sum / (double)d->out_frames / 1e3 : 0);
#undef U
    }
    return (int)n + snprintf(out + n, capacity - n, "}\n");
}

// An answer that the reader has no room for is dropped: frames do not wait for anybody who reads counters.
static void answer(const char *text, int length)
{
    if (write(STDOUT_FILENO, text, (size_t)length) < 0 && errno != EAGAIN) exit(0);
}

static void command(char *line)
{
    static char out[4096];
    char *rest = NULL;
    const char *verb = strtok_r(line, " ", &rest), *fault = NULL;
    if (!verb) fault = "empty command";
    else if (!strcmp(verb, "stats")) {
        answer(out, print_stats(out, sizeof out));
        return;
    } else if (!strcmp(verb, "set")) fault = command_set(&rest);
    else if (!strcmp(verb, "trace")) fault = command_trace(&rest);
    else if (!strcmp(verb, "down")) fault = command_blackhole(&rest, true);
    else if (!strcmp(verb, "up")) fault = command_blackhole(&rest, false);
    else if (!strcmp(verb, "carrier")) fault = command_carrier(&rest);
    else if (!strcmp(verb, "reset")) direction_reset_counters(&directions[0]), direction_reset_counters(&directions[1]);
    else fault = "unknown command";
    if (fault) answer(out, snprintf(out, sizeof out, "{\"error\":\"%s\"}\n", fault));
    else answer("{\"ok\":true}\n", 12);
}

static void read_commands(void)
{
    static char buffer[LINE_BYTES_MAX];
    static size_t filled;
    ssize_t n = read(STDIN_FILENO, buffer + filled, sizeof buffer - filled);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) exit(0);
    if (n < 0) return;
    filled += (size_t)n;
    char *line = buffer, *end;
    while ((end = memchr(line, '\n', filled - (size_t)(line - buffer)))) {
        *end = 0;
        command(line);
        line = end + 1;
    }
    filled -= (size_t)(line - buffer);
    memmove(buffer, line, filled);
    if (filled == sizeof buffer) exit(2);
}

// ---- frames

// Takes what the sender has put into the TAP, a turn's worth at most. True: there may be more.
static bool pull(int tap, struct direction *d)
{
    nanoseconds now = monotonic_now();
    for (int i = 0; i < FRAMES_PER_TURN; i++) {
        static struct frame *spare;
        if (!spare && !(spare = frame_take())) {
            char sink[1];
            if (read(tap, sink, sizeof sink) < 0) return false;
            d->dropped_memory++;
            continue;
        }
        ssize_t n = read(tap, spare->data, frame_capacity());
        if (n <= 0) return false;
        spare->length = (uint32_t)n;
        direction_arrive(d, spare, now);
        spare = NULL;
    }
    return true;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: plait-wan NAMESPACE/DEVICE NAMESPACE/DEVICE SEED MTU\n");
        return 2;
    }
    uint64_t seed = strtoull(argv[3], NULL, 10);
    int mtu = atoi(argv[4]);
    if (mtu < 68 || mtu > 9000) {
        fprintf(stderr, "plait-wan: MTU %s is not within 68..9000\n", argv[4]);
        return 2;
    }
    frames_init((size_t)mtu + ETHERNET_HEADER + 4, FRAMES_MAX); // 4: a VLAN tag
    taps[1] = tap_open(argv[2], mtu);
    taps[0] = tap_open(argv[1], mtu);
    direction_init(&directions[0], taps[1], seed * 2);
    direction_init(&directions[1], taps[0], seed * 2 + 1);
    bool high_priority = priority_raise();
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer < 0) {
        perror("plait-wan: timerfd_create");
        return 1;
    }
    fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
    fcntl(STDOUT_FILENO, F_SETFL, fcntl(STDOUT_FILENO, F_GETFL) | O_NONBLOCK);
    char ready[64];
    answer(ready, snprintf(ready, sizeof ready, "{\"ready\":true,\"highPriority\":%s}\n", high_priority ? "true" : "false"));

    struct pollfd waits[] = {
        {.fd = taps[0], .events = POLLIN}, {.fd = taps[1], .events = POLLIN},
        {.fd = timer, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN},
    };
    bool more = false;
    nanoseconds armed = NEVER;
    for (;;) {
        if (poll(waits, 4, more ? 0 : -1) < 0 && errno != EINTR) return 1;
        more = false;
        if (waits[2].revents) armed = NEVER; // re-arming clears the expiry, so it is never read
        if (waits[3].revents) read_commands();
        if ((waits[0].revents | waits[1].revents) & POLLERR) return 0; // a device was removed under us
        for (int i = 0; i < 2; i++) {
            if (waits[i].revents & POLLIN && pull(taps[i], &directions[i])) more = true;
            direction_advance(&directions[i], monotonic_now());
        }
        nanoseconds next = direction_next(&directions[0]), other = direction_next(&directions[1]);
        if (other < next) next = other;
        if (next == armed && !waits[2].revents) continue;
        // While frames keep coming, a timer set earlier than needed is cheaper left alone than set again.
        if (armed < next && armed != NEVER) continue;
        if (next == NEVER) {
            if (waits[2].revents) {
                uint64_t expirations;
                if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN) return 1;
            }
            continue;
        }
        nanoseconds earliest = monotonic_now() + WAKEUP_SLACK;
        if (next < earliest) next = earliest;
        struct itimerspec at = {.it_value = {next / 1000000000, next % 1000000000}};
        if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL) < 0) return 1;
        armed = next;
    }
}

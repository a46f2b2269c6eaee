// One direction of an emulated uplink: what a frame meets between the two ends.
//
//   queue (tail drop) -> serialised at a rate -> lost or not -> delay + jitter -> delivered
//
// All of it runs in virtual time: a frame is served at the exact nanosecond it would have been, however late the
// process was woken; only the last step, the write, needs a wake-up.
#ifndef PLAIT_WAN_DIRECTION_H
#define PLAIT_WAN_DIRECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int64_t nanoseconds;
#define NEVER INT64_MAX
#define RATE_UNLIMITED (-1)
#define ETHERNET_HEADER 14

struct frame {
    struct frame *next;
    nanoseconds at;      // in the queue: when it arrived; in flight: when it is due
    uint64_t order;      // breaks ties in flight
    uint32_t length;     // of data, Ethernet header included
    uint8_t data[];
};

// Splitmix64 (Steele, Lea, Flood 2014). One per purpose, so that a change of jitter leaves the losses as they were.
struct random { uint64_t state; };

struct trace_point { nanoseconds after; int64_t bits_per_second; };

struct direction {
    // ---- set by the operator
    int64_t rate;                    // bit/s of whole frames plus overhead; RATE_UNLIMITED; 0: stands still
    int overhead;                    // bytes added to each frame when its time on the wire is counted
    nanoseconds delay, jitter;       // one way; jitter is uniform, plus or minus
    nanoseconds jitter_hold;         // a drawn jitter lasts this long; 0: one draw a frame
    bool keep_order;                 // jitter never lets a frame overtake another
    double loss, loss_burst;         // share of frames; mean frames lost in a row (1 or less: independent)
    double duplicate;                // share delivered twice
    double reorder; nanoseconds reorder_by; // share held back by so much, to be overtaken
    int64_t queue_bytes, queue_frames;      // limits of what waits; -1: none
    nanoseconds queue_time;          // the same as time at the present rate; -1: none
    int mtu;                         // larger IP packets vanish; 0: any size
    bool blackhole;                  // everything vanishes, what is on its way too
    struct trace_point *trace; size_t trace_length, trace_next;
    nanoseconds trace_start, trace_period;  // period 0: played once
    // ---- state
    struct frame *head, *tail; int64_t waiting_bytes, waiting_frames;
    struct frame *serving; nanoseconds served_to; double bits_left;
    nanoseconds free_at;
    struct frame **flight; size_t flight_count, flight_capacity; // a heap by (at, order)
    uint64_t order;
    nanoseconds last_due, jitter_now, jitter_until;
    bool burst_on;
    struct random loss_random, jitter_random, duplicate_random, reorder_random;
    int out;                         // descriptor of the TAP it delivers to
    // ---- counters
    uint64_t in_frames, in_bytes, out_frames, out_bytes;
    uint64_t dropped_queue, dropped_loss, dropped_blackhole, dropped_size, dropped_memory, dropped_write;
    uint64_t duplicated, reordered;
    int64_t waiting_bytes_max;
    nanoseconds late_max; double late_sum;
};

nanoseconds monotonic_now(void);

// Frame memory, bounded for the whole process. Take: NULL when it is used up. Each holds `frame_capacity()` bytes.
void frames_init(size_t data_bytes, size_t frames_max);
size_t frame_capacity(void);
struct frame *frame_take(void);
void frame_release(struct frame *frame);

void direction_init(struct direction *d, int out, uint64_t seed);
// A frame came from the sender at `now`. Takes it over.
void direction_arrive(struct direction *d, struct frame *frame, nanoseconds now);
// Serves the queue up to `now` and delivers what is due.
void direction_advance(struct direction *d, nanoseconds now);
// When direction_advance has to be called next; NEVER: not before another frame arrives.
nanoseconds direction_next(const struct direction *d);
// A new rate from `now` on; the frame being sent keeps what it has already sent.
void direction_set_rate(struct direction *d, int64_t bits_per_second, nanoseconds now);
// Starts a rate trace at `now`; takes the points over. period 0: played once, the last rate stays.
void direction_trace(struct direction *d, struct trace_point *points, size_t length, nanoseconds period, nanoseconds now);
// Everything waiting or on its way is lost.
void direction_flush(struct direction *d);
void direction_reset_counters(struct direction *d);

#endif

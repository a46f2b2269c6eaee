#include "direction.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

nanoseconds monotonic_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

// ---- frame memory

static struct frame *free_frames;
static size_t frame_bytes, frames_left;

void frames_init(size_t data_bytes, size_t frames_max)
{
    frame_bytes = data_bytes;
    frames_left = frames_max;
}

size_t frame_capacity(void) { return frame_bytes; }

struct frame *frame_take(void)
{
    struct frame *frame = free_frames;
    if (frame) {
        free_frames = frame->next;
        return frame;
    }
    if (frames_left == 0) return NULL;
    frame = malloc(sizeof *frame + frame_bytes);
    if (frame) frames_left--;
    return frame;
}

void frame_release(struct frame *frame)
{
    frame->next = free_frames;
    free_frames = frame;
}

// ---- randomness

static uint64_t random_next(struct random *r)
{
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static double random_share(struct random *r) { return (double)(random_next(r) >> 11) / 9007199254740992.0; }

void direction_init(struct direction *d, int out, uint64_t seed)
{
    memset(d, 0, sizeof *d);
    d->out = out;
    d->rate = RATE_UNLIMITED;
    d->keep_order = true;
    d->queue_bytes = d->queue_frames = d->queue_time = -1;
    struct random start = {seed};
    d->loss_random.state = random_next(&start);
    d->jitter_random.state = random_next(&start);
    d->duplicate_random.state = random_next(&start);
    d->reorder_random.state = random_next(&start);
}

// ---- in flight: a binary heap, the earliest on top

static bool earlier(const struct frame *a, const struct frame *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static bool flight_push(struct direction *d, struct frame *frame)
{
    if (d->flight_count == d->flight_capacity) {
        size_t capacity = d->flight_capacity ? d->flight_capacity * 2 : 1024;
        struct frame **grown = realloc(d->flight, capacity * sizeof *grown);
        if (!grown) return false;
        d->flight = grown;
        d->flight_capacity = capacity;
    }
    size_t i = d->flight_count++;
    while (i > 0 && earlier(frame, d->flight[(i - 1) / 2])) {
        d->flight[i] = d->flight[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    d->flight[i] = frame;
    return true;
}

static struct frame *flight_pop(struct direction *d)
{
    struct frame *top = d->flight[0], *last = d->flight[--d->flight_count];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < d->flight_count) {
        if (child + 1 < d->flight_count && earlier(d->flight[child + 1], d->flight[child])) child++;
        if (!earlier(d->flight[child], last)) break;
        d->flight[i] = d->flight[child];
        i = child;
    }
    d->flight[i] = last;
    return top;
}

static void launch(struct direction *d, struct frame *frame, nanoseconds due)
{
    frame->at = due;
    frame->order = d->order++;
    if (!flight_push(d, frame)) {
        d->dropped_memory++;
        frame_release(frame);
    }
}

// ---- the journey of a frame

// Gilbert's model: in the bad state every frame is lost. Its two probabilities follow from the mean loss and the mean
// length of a burst.
static bool is_lost(struct direction *d)
{
    if (d->loss <= 0) return false;
    double draw = random_share(&d->loss_random);
    if (d->loss >= 1) return true;
    if (d->loss_burst <= 1) return draw < d->loss;
    if (d->burst_on) d->burst_on = draw >= 1 / d->loss_burst;
    else d->burst_on = draw < d->loss / (d->loss_burst * (1 - d->loss));
    return d->burst_on;
}

// The last bit of `frame` left the sender at `t`.
static void propagate(struct direction *d, struct frame *frame, nanoseconds t)
{
    if (is_lost(d)) {
        d->dropped_loss++;
        frame_release(frame);
        return;
    }
    nanoseconds due = t + d->delay;
    if (d->jitter > 0) {
        if (t >= d->jitter_until) {
            d->jitter_now = (nanoseconds)((2 * random_share(&d->jitter_random) - 1) * (double)d->jitter);
            d->jitter_until = t + d->jitter_hold;
        }
        due += d->jitter_now;
        if (due < t) due = t;
    }
    if (d->keep_order && due < d->last_due) due = d->last_due;
    if (d->reorder > 0 && random_share(&d->reorder_random) < d->reorder) {
        d->reordered++;
        due += d->reorder_by; // last_due stays: the next ones overtake it
    } else if (due > d->last_due) {
        d->last_due = due;
    }
    struct frame *twin = NULL;
    if (d->duplicate > 0 && random_share(&d->duplicate_random) < d->duplicate && (twin = frame_take())) {
        twin->length = frame->length;
        memcpy(twin->data, frame->data, frame->length);
        d->duplicated++;
    }
    launch(d, frame, due);
    if (twin) launch(d, twin, due);
}

// Counts what of the frame being served has been sent by `t` at the rate so far.
static void account(struct direction *d, nanoseconds t)
{
    if (!d->serving || t <= d->served_to) return;
    if (d->rate > 0) d->bits_left -= (double)d->rate * (double)(t - d->served_to) / 1e9;
    if (d->bits_left < 0) d->bits_left = 0;
    d->served_to = t;
}

static void trace_apply(struct direction *d)
{
    d->rate = d->trace[d->trace_next++].bits_per_second;
    if (d->trace_next == d->trace_length && d->trace_period > 0) {
        d->trace_next = 0;
        d->trace_start += d->trace_period;
    }
}

static nanoseconds trace_at(const struct direction *d)
{
    return d->trace_next < d->trace_length ? d->trace_start + d->trace[d->trace_next].after : NEVER;
}

static nanoseconds service_end(const struct direction *d)
{
    if (d->rate == RATE_UNLIMITED) return d->served_to;
    if (d->rate == 0) return NEVER;
    return d->served_to + (nanoseconds)(d->bits_left * 1e9 / (double)d->rate + 0.5);
}

// Serves the queue up to `now`; the rate may change in the middle of a frame.
static void serve(struct direction *d, nanoseconds now)
{
    for (;;) {
        nanoseconds change = trace_at(d);
        if (!d->serving) {
            nanoseconds start = NEVER;
            if (d->head) start = d->head->at > d->free_at ? d->head->at : d->free_at;
            if (change <= start && change <= now) {
                trace_apply(d);
                continue;
            }
            if (start > now) return;
            d->serving = d->head;
            if (!(d->head = d->head->next)) d->tail = NULL;
            d->waiting_frames--;
            d->waiting_bytes -= d->serving->length + d->overhead;
            d->served_to = start;
            d->bits_left = (double)(d->serving->length + d->overhead) * 8;
        }
        nanoseconds end = service_end(d);
        if (change < end && change <= now) {
            account(d, change);
            trace_apply(d);
            continue;
        }
        if (end > now) return;
        struct frame *frame = d->serving;
        d->serving = NULL;
        d->free_at = end;
        propagate(d, frame, end);
    }
}

static bool queue_full(const struct direction *d, int64_t bytes)
{
    if (d->queue_frames >= 0 && d->waiting_frames + 1 > d->queue_frames) return true;
    if (d->queue_bytes >= 0 && d->waiting_bytes + bytes > d->queue_bytes) return true;
    if (d->queue_time >= 0 && d->rate >= 0)
        return (double)(d->waiting_bytes + bytes) * 8e9 > (double)d->queue_time * (double)d->rate;
    return false;
}

void direction_arrive(struct direction *d, struct frame *frame, nanoseconds now)
{
    serve(d, now); // what has left the queue by now makes room
    d->in_frames++;
    d->in_bytes += frame->length;
    int64_t bytes = (int64_t)frame->length + d->overhead;
    uint64_t *reason = NULL;
    if (d->blackhole) reason = &d->dropped_blackhole;
    else if (d->mtu > 0 && frame->length > (uint32_t)d->mtu + ETHERNET_HEADER) reason = &d->dropped_size;
    else if ((d->serving || d->head) && queue_full(d, bytes)) reason = &d->dropped_queue;
    if (reason) {
        ++*reason;
        frame_release(frame);
        return;
    }
    frame->at = now;
    frame->next = NULL;
    if (d->tail) d->tail->next = frame;
    else d->head = frame;
    d->tail = frame;
    d->waiting_frames++;
    d->waiting_bytes += bytes;
    serve(d, now);
    if (d->waiting_bytes > d->waiting_bytes_max) d->waiting_bytes_max = d->waiting_bytes;
}

void direction_advance(struct direction *d, nanoseconds now)
{
    serve(d, now);
    while (d->flight_count > 0 && d->flight[0]->at <= now) {
        struct frame *frame = flight_pop(d);
        nanoseconds late = now - frame->at;
        if (late > d->late_max) d->late_max = late;
        d->late_sum += (double)late;
        if (write(d->out, frame->data, frame->length) == (ssize_t)frame->length) {
            d->out_frames++;
            d->out_bytes += frame->length;
        } else {
            d->dropped_write++;
        }
        frame_release(frame);
    }
}

nanoseconds direction_next(const struct direction *d)
{
    nanoseconds next = d->flight_count > 0 ? d->flight[0]->at : NEVER;
    if (d->serving) {
        // The frame being served cannot be due before this; until then the queue needs no attention.
        nanoseconds end = service_end(d), change = trace_at(d);
        if (change < end) end = change;
        else if (d->delay > d->jitter && end != NEVER) end += d->delay - d->jitter;
        if (end < next) next = end;
    }
    return next;
}

void direction_set_rate(struct direction *d, int64_t bits_per_second, nanoseconds now)
{
    serve(d, now);
    account(d, now);
    d->rate = bits_per_second;
    d->trace_length = d->trace_next = 0;
    serve(d, now);
}

void direction_trace(struct direction *d, struct trace_point *points, size_t length, nanoseconds period, nanoseconds now)
{
    serve(d, now);
    account(d, now);
    free(d->trace);
    d->trace = points;
    d->trace_length = length;
    d->trace_next = 0;
    d->trace_start = now;
    d->trace_period = period;
    serve(d, now);
}

void direction_flush(struct direction *d)
{
    struct frame *frame;
    while ((frame = d->head)) {
        d->head = frame->next;
        d->dropped_blackhole++;
        frame_release(frame);
    }
    d->tail = NULL;
    d->waiting_frames = d->waiting_bytes = 0;
    if (d->serving) {
        frame_release(d->serving);
        d->serving = NULL;
        d->dropped_blackhole++;
    }
    while (d->flight_count > 0) {
        frame_release(flight_pop(d));
        d->dropped_blackhole++;
    }
    d->last_due = 0;
}

void direction_reset_counters(struct direction *d)
{
    d->in_frames = d->in_bytes = d->out_frames = d->out_bytes = 0;
    d->dropped_queue = d->dropped_loss = d->dropped_blackhole = 0;
    d->dropped_size = d->dropped_memory = d->dropped_write = 0;
    d->duplicated = d->reordered = 0;
    d->waiting_bytes_max = d->waiting_bytes;
    d->late_max = 0;
    d->late_sum = 0;
}

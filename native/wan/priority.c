#define _GNU_SOURCE
#include "priority.h"

#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

// Not in glibc's headers before 2.41.
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

// Niceness alone still lets a busy process finish its time slice of some milliseconds. A short slice of our own
// (Linux 6.12 and later; ignored before) has us preempt it at the wake-up. Real-time scheduling would too, but a
// kernel that guards the ordinary processes' share stops a real-time one for 50 ms at a time when it is busy.
#define SLICE_NS 100000

// With autogroups (kernel.sched_autogroup_enabled) niceness counts only among the processes of one session, and all
// sessions share alike. So this becomes a session of its own, and the session is the nice one. A side effect is
// wanted: Ctrl-C in a terminal does not reach it; whoever started it ends it.
static void autogroup_raise(void)
{
    if (setsid() < 0) return;
    int fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    // Refused without privilege, and absent on kernels without autogroups: then niceness is all there is.
    ssize_t written = write(fd, "-19", 3);
    (void)written;
    close(fd);
}

bool priority_raise(void)
{
    autogroup_raise();
    struct attributes attributes = {
        .size = sizeof attributes, .policy = SCHED_OTHER, .nice = -19, .runtime = SLICE_NS,
    };
    if (syscall(SYS_sched_setattr, 0, &attributes, 0) == 0) return true;
    return setpriority(PRIO_PROCESS, 0, -19) == 0;
}

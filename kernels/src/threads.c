/* threads.c: a small pool. Workers spin for a moment before they sleep, because the next node
 * follows within microseconds, and waking a thread that sleeps takes as long as a small node.
 *
 * Nobody waits for a worker that has not come: where other programs need the cores it may come
 * milliseconds later. So a worker enters a turn, which is possible until the caller finds nothing
 * left to do, and the caller waits for those that have entered. */
#define _POSIX_C_SOURCE 200809L
#include "session.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    SPIN_NS = 200000, /* longer than the last task of a node, or than the next samples' way in */
    SPINS = 64,       /* between two looks at the clock, and two chances for others to run */
    LEAST_STACK = 1 << 20 /* some systems' threads have little; products hold blocks on the stack */
};

enum { INSIDE = (1 << 9) - 1, OPEN = 1 << 9, TURN = 1 << 10 }; /* of bc_threads.gate */

/* Items that one thread takes first: stretches of the same images in every node, so that most of
 * what it reads it has written itself, and finds in its own cache. Then it helps the others. */
typedef struct share {
    _Alignas(BC_LINE) atomic_size_t next;
    size_t end;
} share;

struct bc_threads {
    /* what a worker reads when it enters, in one line */
    _Alignas(BC_LINE) atomic_size_t gate; /* turn * TURN, which changes when there is work, or when
                                             all shall end; + OPEN as long as workers may enter;
                                             + how many are inside */
    bc_work *work;
    const void *context;
    share *shares; /* of every thread, the caller's first */
    size_t count;  /* of workers: the caller is one more */
    atomic_bool stop;
    _Alignas(BC_LINE) pthread_mutex_t mutex;
    pthread_cond_t wake;
    size_t numbered; /* workers that have taken their number, under the mutex */
    pthread_t *ids;
    void *memory; /* that this is in, and the shares */
};

/* Tells the core that a loop waits for another one. */
static void pause_a_moment(void) {
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
    __builtin_ia32_pause();
#elif defined(__GNUC__) && defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void take_items(bc_threads *t, size_t thread) {
    for (size_t i = 0; i <= t->count; i++) {
        share *from = &t->shares[(thread + i) % (t->count + 1)];
        for (;;) {
            const size_t item = atomic_fetch_add_explicit(&from->next, 1, memory_order_relaxed);
            if (item >= from->end)
                break;
            t->work(t->context, item, thread);
        }
    }
}

static size_t turn_now(bc_threads *t) {
    return atomic_load_explicit(&t->gate, memory_order_acquire) / TURN;
}

static size_t wait_for_turn(bc_threads *t, size_t seen) {
    const uint64_t start = bc_now_ns();
    do {
        for (int i = 0; i < SPINS; i++) {
            const size_t turn = turn_now(t);
            if (turn != seen)
                return turn;
            pause_a_moment();
        }
        sched_yield();
    } while (bc_now_ns() - start < SPIN_NS);
    pthread_mutex_lock(&t->mutex);
    while (turn_now(t) == seen)
        pthread_cond_wait(&t->wake, &t->mutex);
    pthread_mutex_unlock(&t->mutex);
    return turn_now(t);
}

/* Returns false if it is too late for that turn. */
static bool enter(bc_threads *t, size_t turn) {
    size_t gate = atomic_load_explicit(&t->gate, memory_order_relaxed);
    while (gate / TURN == turn && gate & OPEN)
        if (atomic_compare_exchange_weak_explicit(&t->gate, &gate, gate + 1, memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
    return false;
}

static void *worker(void *argument) {
    bc_threads *t = argument;
    pthread_mutex_lock(&t->mutex);
    size_t thread = ++t->numbered;
    pthread_mutex_unlock(&t->mutex);
    for (size_t seen = 0;;) {
        seen = wait_for_turn(t, seen);
        if (atomic_load_explicit(&t->stop, memory_order_relaxed))
            return NULL;
        if (!enter(t, seen))
            continue;
        take_items(t, thread);
        atomic_fetch_sub_explicit(&t->gate, 1, memory_order_release);
    }
}

/* The gate is closed and nobody is inside: only this thread changes it. */
static void begin_turn(bc_threads *t) {
    const size_t turn = turn_now(t) + 1;
    pthread_mutex_lock(&t->mutex);
    atomic_store_explicit(&t->gate, turn * TURN + OPEN, memory_order_release);
    pthread_cond_broadcast(&t->wake);
    pthread_mutex_unlock(&t->mutex);
}

/* Closes the gate and waits for those inside, who may be in their last item. */
static void end_turn(bc_threads *t) {
    size_t gate = atomic_fetch_and_explicit(&t->gate, ~(size_t)OPEN, memory_order_acquire);
    for (unsigned i = 1; gate & INSIDE; i++) {
        pause_a_moment();
        if (i % SPINS == 0)
            sched_yield();
        gate = atomic_load_explicit(&t->gate, memory_order_acquire);
    }
}

/* As pthread_create, with the system's usual stack, unless that is too small. */
static int start(bc_threads *t, pthread_t *id) {
    pthread_attr_t attributes;
    size_t stack = 0;
    int status = pthread_attr_init(&attributes);
    if (status)
        return status;
    status = pthread_attr_getstacksize(&attributes, &stack);
    if (!status && stack < LEAST_STACK)
        status = pthread_attr_setstacksize(&attributes, LEAST_STACK);
    if (!status)
        status = pthread_create(id, &attributes, worker, t);
    pthread_attr_destroy(&attributes);
    return status;
}

static void release(bc_threads *t) {
    free(t->ids);
    free(t->memory);
}

bc_threads *bc_threads_open(size_t count) {
    const size_t bytes = sizeof(bc_threads) + count * sizeof(share);
    void *memory = calloc(1, bc_block_room(bytes));
    if (!memory)
        return NULL;
    bc_threads *t = bc_align_block(memory, bytes);
    t->memory = memory;
    t->shares = (share *)(void *)(t + 1);
    t->ids = calloc(count, sizeof *t->ids);
    if (!t->ids || pthread_mutex_init(&t->mutex, NULL)) {
        release(t);
        return NULL;
    }
    if (pthread_cond_init(&t->wake, NULL)) {
        pthread_mutex_destroy(&t->mutex);
        release(t);
        return NULL;
    }
    for (; t->count + 1 < count; t->count++)
        if (start(t, &t->ids[t->count])) {
            bc_threads_close(t);
            return NULL;
        }
    return t;
}

void bc_threads_close(bc_threads *t) {
    if (!t)
        return;
    atomic_store(&t->stop, true);
    begin_turn(t);
    for (size_t i = 0; i < t->count; i++)
        pthread_join(t->ids[i], NULL);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->mutex);
    release(t);
}

void bc_parallel(bc_threads *t, size_t items, bc_work *work, const void *context) {
    if (!t || items < 2) {
        for (size_t i = 0; i < items; i++)
            work(context, i, 0);
        return;
    }
    for (size_t i = 0; i <= t->count; i++) {
        t->shares[i].end = items * (i + 1) / (t->count + 1);
        atomic_store_explicit(&t->shares[i].next, items * i / (t->count + 1), memory_order_relaxed);
    }
    t->work = work;
    t->context = context;
    begin_turn(t);
    take_items(t, 0);
    end_turn(t);
}

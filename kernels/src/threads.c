/* threads.c: a small pool. Workers spin for a moment before they sleep, because the next node
 * follows within microseconds, and waking a thread that sleeps takes as long as a small node. */
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

/* Items that one thread takes first: stretches of the same images in every node, so that most of
 * what it reads it has written itself, and finds in its own cache. Then it helps the others. */
typedef struct share {
    _Alignas(BC_LINE) atomic_size_t next;
    size_t end;
} share;

struct bc_threads {
    size_t count;  /* of workers: the caller is one more */
    share *shares; /* of every thread, the caller's first */
    void *memory;  /* that they are in */
    pthread_t *ids;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    atomic_uint turn;      /* changes when there is work, or when all shall end */
    atomic_size_t running; /* workers that have not finished this turn */
    atomic_bool stop;
    size_t numbered; /* workers that have taken their number, under the mutex */
    bc_work *work;
    const void *context;
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

static unsigned wait_for_turn(bc_threads *t, unsigned seen) {
    const uint64_t start = bc_now_ns();
    do {
        for (int i = 0; i < SPINS; i++) {
            unsigned turn = atomic_load_explicit(&t->turn, memory_order_acquire);
            if (turn != seen)
                return turn;
            pause_a_moment();
        }
        sched_yield();
    } while (bc_now_ns() - start < SPIN_NS);
    pthread_mutex_lock(&t->mutex);
    while (atomic_load_explicit(&t->turn, memory_order_acquire) == seen)
        pthread_cond_wait(&t->wake, &t->mutex);
    pthread_mutex_unlock(&t->mutex);
    return atomic_load_explicit(&t->turn, memory_order_acquire);
}

static void *worker(void *argument) {
    bc_threads *t = argument;
    pthread_mutex_lock(&t->mutex);
    size_t thread = ++t->numbered;
    pthread_mutex_unlock(&t->mutex);
    for (unsigned seen = 0;;) {
        seen = wait_for_turn(t, seen);
        if (atomic_load_explicit(&t->stop, memory_order_relaxed))
            return NULL;
        take_items(t, thread);
        atomic_fetch_sub_explicit(&t->running, 1, memory_order_release);
    }
}

static void begin_turn(bc_threads *t) {
    pthread_mutex_lock(&t->mutex);
    atomic_fetch_add_explicit(&t->turn, 1, memory_order_release);
    pthread_cond_broadcast(&t->wake);
    pthread_mutex_unlock(&t->mutex);
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
    free(t->memory);
    free(t->ids);
    free(t);
}

bc_threads *bc_threads_open(size_t count) {
    bc_threads *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->ids = calloc(count, sizeof *t->ids);
    t->memory = calloc(1, bc_block_room(count * sizeof *t->shares));
    if (!t->ids || !t->memory || pthread_mutex_init(&t->mutex, NULL)) {
        release(t);
        return NULL;
    }
    t->shares = bc_align_block(t->memory, count * sizeof *t->shares);
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
    atomic_store_explicit(&t->running, t->count, memory_order_relaxed);
    begin_turn(t);
    take_items(t, 0);
    /* workers may still be in their last item, and none may see the next turn's items with this
     * turn's counter */
    for (unsigned i = 1; atomic_load_explicit(&t->running, memory_order_acquire); i++) {
        pause_a_moment();
        if (i % SPINS == 0)
            sched_yield();
    }
}

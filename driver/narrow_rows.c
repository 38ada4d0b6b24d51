/* Tensors in fewer bits: rounded whenever they are read, from several threads, and measured once. */
#include <math.h>
#include <string.h>

#include "driver/merge_inside.h"
#include "driver/narrow_inside.h"
#include "runtime/safetensors.h"

enum { PIECE = 2048 };

/* ---- elements ---------------------------------------------------------------------------------------------------- */

static int read_piece(const Narrow *t, int64_t first, int64_t count, double *out)
{
    unsigned char raw[PIECE * sizeof(double)];
    uint64_t size = dtype_size(t->from.dtype);
    int error = checkpoint_read_raw(t->base, checkpoint_number(t->base, t->from.name), (uint64_t)first * size, (uint64_t)count * size, raw);
    if (!error)
        convert_f64(t->from.dtype, raw, (size_t)count, out);
    return error;
}

static uint16_t nearest(DType to, double value)
{
    return to == DT_BF16 ? bfloat_nearest(value) : half_nearest(value);
}

static double widened(DType to, uint16_t bits)
{
    return (double)(to == DT_BF16 ? bfloat_to_float(bits) : half_to_float(bits));
}

static int make_narrow(const void *state, int64_t first, int64_t count, void *out)
{
    const Narrow *t = state;
    double values[PIECE];
    unsigned char *to = out;
    int error = 0;
    for (int64_t done = 0, now; done < count && !error; done += now) {
        now = count - done < PIECE ? count - done : PIECE;
        error = read_piece(t, first + done, now, values);
        for (int64_t i = 0; i < now && !error; i++) {
            uint16_t bits = nearest(t->to, values[i]);
            memcpy(to + (done + i) * (int64_t)sizeof bits, &bits, sizeof bits);
        }
    }
    return error;
}

/* Sums of the whole tensor, in its order. */
static void measure(void *items, int number)
{
    Narrow *t = ((Narrow **)items)[number];
    double values[PIECE];
    int64_t all = host_count(&t->from);
    for (int64_t done = 0, now; done < all && !t->failed; done += now) {
        now = all - done < PIECE ? all - done : PIECE;
        t->failed = read_piece(t, done, now, values);
        for (int64_t i = 0; i < now && !t->failed; i++) {
            double off = widened(t->to, nearest(t->to, values[i])) - values[i];
            if (isnan(values[i]) || isinf(values[i]))
                continue; /* kept as it is */
            t->size += values[i] * values[i];
            t->error += off * off;
            t->largest = fmax(t->largest, fabs(off));
            t->among = fmax(t->among, fabs(values[i]));
        }
    }
}

void narrow_measure(Narrow **items, size_t n, int threads)
{
    merge_each(threads, (int)n, measure, items);
}

/* ---- as a tensor of a checkpoint --------------------------------------------------------------------------------- */

bool narrow_report(Context *cx, const void *narrow, int error)
{
    const Narrow *t = narrow;
    checkpoint_report(cx, t->base, checkpoint_number(t->base, t->from.name), error);
    return true;
}

MadeTensor narrow_tensor(const Narrow *t)
{
    MadeTensor made = {.name = t->from.name, .dtype = t->to, .rank = t->from.rank, .make = make_narrow, .state = t,
                       .origin = checkpoint_file(t->base, t->from.name), .report = narrow_report};
    memcpy(made.dims, t->from.dims, sizeof made.dims);
    return made;
}

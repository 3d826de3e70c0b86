/* Attention a block of rows at a time, with everything that is asked about its weights: rows.py says what.
 *
 * A block of scores stays in cache, whole rows wide, from the scores to the column sums, so that each is computed once and
 * exponentiated once. Keys come in panels of PANEL, dimension by dimension, so that a panel's scores are broadcast products
 * of vectors. Plain C with the vector extensions of GCC and Clang; single precision throughout. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Vectors of one register, and as many rows at once as the accumulators, two vectors wide, leave registers for. */
#if defined(__AVX512F__)
#define LANES 16
#define STRIP 12
#elif defined(__AVX2__)
#define LANES 8
#define STRIP 6
#else
#define LANES 4
#define STRIP 8
#endif
#define PANEL (2 * LANES)
#define STRIPS 2
#define ROWS (STRIPS * STRIP)
#define FUNCTIONALS 8
#define MASKED -1e30f

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));

struct call {
    int64_t batch, heads, kv_heads, queries, panels, dim, value_dim, functionals, columns, chunks;
    float softcap;                             /* scores are softcap * tanh(score / softcap); 0 for none */
    const float *q;                            /* scaled, [batch, head, query, dim] */
    const float *k;                            /* [batch, kv_head, panel, dim, PANEL] */
    const float *v;                            /* [..., key, value_dim], or none; value_dim is a multiple of PANEL */
    int64_t v_batch, v_group, v_head;          /* strides of a batch row and a head; query heads per head of v */
    const int32_t *lo, *hi;                    /* [..., query]: the range of keys that a query sees */
    int64_t bounds_batch;
    const float *bias;                         /* [..., key], or none */
    int64_t bias_batch, bias_head;
    const float *beside;                       /* [batch, head, query], or none */
    const float *f;                            /* [..., functional, key], or none */
    int64_t f_batch, f_head;
    const float *g;                            /* [column, batch, head, query], or none */
    const float *x, *y;                        /* [..., query] and [..., key], or none */
    int64_t x_batch, y_batch;
    float *lse, *out, *score, *most, *apart, *row;   /* as in rows.py; all but lse may be none */
    float *col;                                /* [batch, head, chunk, column, key], zero at first, or none */
};

static inline vec load(const float *p) { vec x; memcpy(&x, p, sizeof x); return x; }
static inline void store(float *p, vec x) { memcpy(p, &x, sizeof x); }
static inline vec all(float x) { return x - (vec){0}; }
static inline vec larger(vec a, vec b) { ivec m = a > b; return (vec)(((ivec)a & m) | ((ivec)b & ~m)); }

static inline float sum(vec x)
{
    float total = 0;
    for (int i = 0; i < LANES; i++) total += x[i];
    return total;
}

static inline float largest(vec x)
{
    float top = x[0];
    for (int i = 1; i < LANES; i++) top = x[i] > top ? x[i] : top;
    return top;
}

/* exp(x) for x <= 0 in about one unit in the last place; 0 below -87. x = n log 2 + r, and a polynomial for exp(r). */
static inline vec exponential(vec x)
{
    const vec magic = all(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number, which stands in the low bits */
    vec shifted = x * 1.44269504088896341f + magic, n = shifted - magic;
    vec r = x - n * 0.693145751953125f - n * 1.42860682030941723e-6f;
    vec p = all(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    ivec scaled = (ivec)p + ((ivec)shifted << 23);
    return (vec)((scaled & ~(x < all(-87.0f))) | (x != x)); /* all bits set are NaN, too */
}

static inline vec capped(vec s, float cap)
{
    vec x = s / cap, e = exponential(-2 * larger(x, -x)), t = cap * (1 - e) / (1 + e);
    ivec negative = x < (vec){0};
    return (vec)(((ivec)t & ~negative) | ((ivec)-t & negative));
}

/* Scores of a strip of rows and a panel of keys: q [dim, STRIP], k [dim, PANEL], s [STRIP, PANEL]. */
static inline __attribute__((always_inline)) void scores(const float *q, const float *k, int64_t dim, float *s)
{
    vec a[STRIP][2];
    for (int r = 0; r < STRIP; r++) a[r][0] = a[r][1] = (vec){0};
    for (int64_t d = 0; d < dim; d++) {
        vec k0 = load(k + d * PANEL), k1 = load(k + d * PANEL + LANES);
        for (int r = 0; r < STRIP; r++) {
            float x = q[d * STRIP + r];
            a[r][0] += x * k0;
            a[r][1] += x * k1;
        }
    }
    for (int r = 0; r < STRIP; r++) {
        store(s + r * PANEL, a[r][0]);
        store(s + r * PANEL + LANES, a[r][1]);
    }
}

/* Add to the output what a panel of keys gives: e [STRIP, PANEL], v [PANEL, value_dim], out [STRIP, value_dim]. */
static inline __attribute__((always_inline)) void weigh(const float *e, const float *v, int64_t value_dim, float *out)
{
    for (int64_t d = 0; d < value_dim; d += PANEL) {
        vec a[STRIP][2];
        for (int r = 0; r < STRIP; r++) {
            a[r][0] = load(out + r * value_dim + d);
            a[r][1] = load(out + r * value_dim + d + LANES);
        }
        for (int j = 0; j < PANEL; j++) {
            vec v0 = load(v + j * value_dim + d), v1 = load(v + j * value_dim + d + LANES);
            for (int r = 0; r < STRIP; r++) {
                float x = e[r * PANEL + j];
                a[r][0] += x * v0;
                a[r][1] += x * v1;
            }
        }
        for (int r = 0; r < STRIP; r++) {
            store(out + r * value_dim + d, a[r][0]);
            store(out + r * value_dim + d + LANES, a[r][1]);
        }
    }
}

static void block(const struct call *c, int64_t b, int64_t h, int64_t start, float *scratch, float *col)
{
    const int64_t keys = c->panels * PANEL, bh = b * c->heads + h, at = bh * c->queries + start;
    const int64_t n = c->queries - start < ROWS ? c->queries - start : ROWS;
    const float *k = c->k + (b * c->kv_heads + h / (c->heads / c->kv_heads)) * keys * c->dim;
    const float *v = c->v ? c->v + b * c->v_batch + h / c->v_group * c->v_head : NULL;
    const float *f = c->f ? c->f + b * c->f_batch + h * c->f_head : NULL;
    const float *bias = c->bias ? c->bias + b * c->bias_batch + h * c->bias_head : NULL;
    const int32_t *lo = c->lo + b * c->bounds_batch + start, *hi = c->hi + b * c->bounds_batch + start;
    float *q = scratch, *out = q + ROWS * c->dim, *s = out + ROWS * c->value_dim;
    const float *x = c->x ? c->x + b * c->x_batch + start : NULL, *y = c->y ? c->y + b * c->y_batch : NULL;
    vec top[ROWS], total[ROWS], scored[ROWS], apart[ROWS], dots[FUNCTIONALS][ROWS];
    float shift[ROWS], inverse[ROWS];

    int64_t from = keys, to = 0;
    for (int64_t r = 0; r < n; r++) {
        from = lo[r] < from ? lo[r] : from;
        to = hi[r] > to ? hi[r] : to;
    }
    const int64_t first = from / PANEL, last = to > from ? (to + PANEL - 1) / PANEL : first;

    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t d = 0; d < c->dim; d++)
            q[(r / STRIP * c->dim + d) * STRIP + r % STRIP] = r < n ? c->q[(at + r) * c->dim + d] : 0;

    for (int64_t r = 0; r < ROWS; r++) top[r] = all(MASKED);
    for (int64_t p = first; p < last; p++) {
        for (int64_t i = 0; i < STRIPS; i++)
            scores(q + i * STRIP * c->dim, k + p * PANEL * c->dim, c->dim, s + (p * ROWS + i * STRIP) * PANEL);
        for (int64_t r = 0; r < n; r++) {
            float *row = s + (p * ROWS + r) * PANEL;
            if (c->softcap > 0) {
                store(row, capped(load(row), c->softcap));
                store(row + LANES, capped(load(row + LANES), c->softcap));
            }
            const int64_t begin = lo[r] - p * PANEL, end = hi[r] - p * PANEL;
            if (bias)
                for (int64_t j = 0; j < PANEL; j++) {
                    row[j] += bias[p * PANEL + j];
                    row[j] = row[j] < MASKED ? MASKED : row[j]; /* NaN stays */
                }
            if (begin > 0 || end < PANEL)
                for (int64_t j = 0; j < PANEL; j++) row[j] = j < begin || j >= end ? MASKED : row[j];
            top[r] = larger(top[r], larger(load(row), load(row + LANES)));
        }
    }

    for (int64_t r = 0; r < ROWS; r++) {
        shift[r] = largest(top[r]);
        if (r < n && c->beside && c->beside[at + r] > shift[r]) shift[r] = c->beside[at + r];
        total[r] = scored[r] = apart[r] = (vec){0};
        for (int64_t m = 0; m < FUNCTIONALS; m++) dots[m][r] = (vec){0};
    }
    memset(out, 0, sizeof(float) * ROWS * c->value_dim);
    for (int64_t p = first; p < last; p++) {
        for (int64_t r = 0; r < n; r++) {
            float *row = s + (p * ROWS + r) * PANEL;
            vec s0 = load(row) - shift[r], s1 = load(row + LANES) - shift[r];
            vec e0 = exponential(s0), e1 = exponential(s1);
            total[r] += e0 + e1;
            if (c->score) scored[r] += e0 * s0 + e1 * s1;
            if (x) {
                vec d0 = load(y + p * PANEL) - x[r], d1 = load(y + p * PANEL + LANES) - x[r];
                apart[r] += e0 * larger(d0, -d0) + e1 * larger(d1, -d1);
            }
            if (c->row)
                for (int64_t m = 0; m < c->functionals; m++) {
                    const float *fm = f + m * keys + p * PANEL;
                    dots[m][r] += e0 * load(fm) + e1 * load(fm + LANES);
                }
            store(row, e0);
            store(row + LANES, e1);
        }
        if (v)
            for (int64_t i = 0; i < STRIPS; i++)
                weigh(s + (p * ROWS + i * STRIP) * PANEL, v + p * PANEL * c->value_dim, c->value_dim,
                      out + i * STRIP * c->value_dim);
    }

    for (int64_t r = 0; r < n; r++) {
        const int dead = shift[r] <= MASKED / 2;
        const float mass = sum(total[r]), z = mass + (c->beside ? expf(c->beside[at + r] - shift[r]) : 0), log_z = logf(z);
        inverse[r] = dead ? 0 : 1 / z;
        c->lse[at + r] = dead ? -INFINITY : shift[r] + log_z;
        /* Counted from the row's maximum this is minus a sum of two numbers that are not negative: nothing cancels. */
        if (c->score) c->score[at + r] = dead ? 0 : (sum(scored[r]) - mass * log_z) * inverse[r];
        if (c->most) c->most[at + r] = dead ? 0 : expf(largest(top[r]) - shift[r]) * inverse[r];
        if (x) c->apart[at + r] = sum(apart[r]) * inverse[r];
        if (c->row)
            for (int64_t m = 0; m < c->functionals; m++)
                c->row[(at + r) * c->functionals + m] = sum(dots[m][r]) * inverse[r];
        if (v)
            for (int64_t d = 0; d < c->value_dim; d++)
                c->out[(at + r) * c->value_dim + d] = out[r * c->value_dim + d] * inverse[r];
    }

    for (int64_t m = 0; m < c->columns; m++) {
        const float *g = c->g + m * c->batch * c->heads * c->queries + at;
        for (int64_t p = first; p < last; p++) {
            float *sums = col + m * keys + p * PANEL;
            vec s0 = load(sums), s1 = load(sums + LANES);
            for (int64_t r = 0; r < n; r++) {
                const float by = inverse[r] * g[r], *e = s + (p * ROWS + r) * PANEL;
                s0 += by * load(e);
                s1 += by * load(e + LANES);
            }
            store(sums, s0);
            store(sums + LANES, s1);
        }
    }
}

int64_t regard_call_size(void) { return sizeof(struct call); }
int64_t regard_panel(void) { return PANEL; }
int64_t regard_rows_at_once(void) { return ROWS; }

/* Compute every step-th unit from the first on, a unit being every chunk-th block of one head; 1 if there is no memory. */
int regard_rows(const struct call *c, int64_t first, int64_t step)
{
    const int64_t blocks = (c->queries + ROWS - 1) / ROWS, keys = c->panels * PANEL;
    float *scratch = malloc(sizeof(float) * ROWS * (c->dim + c->value_dim + keys));
    if (!scratch) return 1;
    for (int64_t unit = first; unit < c->batch * c->heads * c->chunks; unit += step) {
        const int64_t bh = unit / c->chunks;
        for (int64_t i = unit % c->chunks; i < blocks; i += c->chunks)
            block(c, bh / c->heads, bh % c->heads, i * ROWS, scratch, c->col + unit * c->columns * keys);
    }
    free(scratch);
    return 0;
}

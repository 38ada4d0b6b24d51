/* What the parts of the enlargement share. Internal to driver/. */
#ifndef ATTAR_DRIVER_EXPAND_INSIDE_H
#define ATTAR_DRIVER_EXPAND_INSIDE_H

#include "driver/expand.h"

/* ---- linear equations between powers (expand_solve.c) ----------------------------------------------------------- */

typedef struct Part {
    int unknown;
    double times;
} Part;
typedef struct Form { /* constant + sum of times * unknown; by unknown, no times 0 */
    const Part *parts;
    int n;
    double constant;
} Form;

typedef struct Solver {
    Arena *arena;
    Form *known; /* by unknown: what an equation made of it */
    bool *is_known;
    int n, room;
} Solver;

Form form_number(double value);
Form form_unknown(Solver *s);
Form form_add(Solver *s, Form a, Form b, double times); /* a + times * b */
Form form_scale(Solver *s, Form a, double times);
bool solver_equal(Solver *s, Form a, Form b); /* false: contradicts what was said before */
bool solver_open(Solver *s, Form a);          /* its value is not decided yet */
double *solver_solve(Solver *s);              /* by unknown; those that nothing decides are 0 */
double form_value(Form a, const double *unknowns);

/* ---- values of both models side by side (expand_rules.c) -------------------------------------------------------- */

typedef struct Spread { /* large = small, repeated along axes, times factor^power */
    Form power;
    int64_t inner[MAX_RANK];
} Spread;

typedef struct Pairing {
    Compilation *c;
    Solver solver;
    int64_t factor;
    json_t *config;         /* of the large model */
    bool fixed;             /* constants are what the larger config says: nothing more to find */
    Spread **values;        /* by id of the small model's node */
    Map weights, constants; /* key -> Enlarged with its unknown; config key -> its unknown + 1 */
    Map caches;             /* field -> Form */
    Form *powers;           /* of the weights, in the order of the map */
    const Node *at;         /* what was looked at when it failed */
    const char *why;
} Pairing;

static inline Spread *spread_of(const Pairing *p, const Node *n)
{
    return p->values[n->id];
}

static inline Form spread_power(const Pairing *p, const Node *n)
{
    return spread_of(p, n)->power;
}

/* What `inner` says of an axis by its name; 0 if the value has no such axis. */
static inline int64_t spread_inner(const Pairing *p, const Node *n, const char *axis)
{
    int at = type_find(n->type, axis);
    return at < 0 ? 0 : spread_of(p, n)->inner[at];
}

static inline bool node_is_float(const Node *n)
{
    return n->type && dtype_is_float(n->type->dtype);
}

/* False, with the node and the reason kept. */
bool expand_refuse(Pairing *p, const Node *n, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool expand_equal(Pairing *p, const Node *n, const Node *x, const Node *y); /* both sides scaled alike, or refused */
bool expand_unscaled(Pairing *p, const Node *n, const Node *x); /* an argument that keeps its values, or refused */
bool expand_is_wide(const Pairing *p, const Node *n);
int expand_widened(Pairing *p, Extent small, Extent large); /* 1: by the factor; 0: the same; -1: something else */

/* The rule of one node: what `s` says of its axes by their sizes becomes what its inputs say, and s->power is found. */
bool expand_leaf(Pairing *p, const Node *n, const Node *large, Spread *s);
bool expand_map(Pairing *p, const Node *n, Spread *s);
bool expand_reduce(Pairing *p, const Node *n, Spread *s);
bool expand_dot(Pairing *p, const Node *n, Spread *s);
bool expand_move(Pairing *p, const Node *n, const Node *large, Spread *s);
bool expand_plain(Pairing *p, const Node *n, Spread *s); /* operators without a rule: nothing widened, nothing scaled */
bool expand_align(Pairing *p, const Node *n, Spread *s); /* axes by name from all inputs */

/* Walks both graphs, then chooses what the equations leave open. False: at and why say what cannot be enlarged. */
bool expand_pair(Pairing *p, const Graph *small, const Graph *large);

#endif

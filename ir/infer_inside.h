/* Shared by the files of the shape rules. */
#ifndef ATTAR_IR_INFER_INSIDE_H
#define ATTAR_IR_INFER_INSIDE_H

#include "ir/ir.h"

typedef struct Rule {
    Context *cx;
    const Node *n;
    const Type *declared;
    const char *reason;                 /* set by the first refusal */
} Rule;

/* A refusal with its reason: NULL for rules that give a type, false for those that answer yes or no. */
const Type *rule_refuse(Rule *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool rule_refused(Rule *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

const char *rule_size(Rule *r, Extent e);
const char *rule_type(Rule *r, const Type *type);
const char *rule_op(const Rule *r);
const Type *rule_in(const Rule *r, int i);                      /* the type of input i */
const char *rule_word(const Rule *r, int i);                    /* what to call input i */

const Attr *rule_over(Rule *r);                                 /* the attribute `over`, or NULL and a refusal */
bool rule_has_axes(Rule *r, const Attr *over, int i);           /* input i has all of them */
const Type *rule_product(Rule *r, int a, int b, const Attr *over); /* a * b, summed over the axes */
const Type *rule_in_declared_order(Rule *r, const Type *own);   /* the declared type, if it has the same axes */

/* infer_move.c */
const Type *infer_view(Rule *r);
const Type *infer_choose(Rule *r), *infer_concat(Rule *r);
const Type *infer_gather(Rule *r), *infer_topk(Rule *r);
const Type *infer_append(Rule *r);

/* infer_kernel.c */
const Type *infer_region(Rule *r);
const Type *infer_kernel(Rule *r);

/* infer_linear.c */
const Type *infer_linear(Rule *r);

#endif

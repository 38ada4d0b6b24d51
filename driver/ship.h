/* attar build: a folder with all that a program needs to have a model in it, and to check it where it runs.
 *
 *     NAME.c NAME.h        codegen/ship.h
 *     NAME.weights         runtime/weights_file.h; with embed also NAME_weights.c, which has the same bytes in the program
 *     selftest.c           a call with what it should give, through NAME.h alone
 *     example.c            a program of at most 60 lines
 *     Makefile CMakeLists.txt README.md
 *
 * The same model, weights and options give the same bytes, in any folder. */
#ifndef ATTAR_DRIVER_SHIP_H
#define ATTAR_DRIVER_SHIP_H

#include "driver/compile.h"

typedef struct ShipCase {               /* a call and what it should give */
    const HostTensor *inputs, *wanted;  /* in the order of the plan */
    const double *tolerance;            /* of each output: the largest absolute error that passes */
    const int64_t *sizes;               /* of the plan's symbols, all positions at once */
    int step;                           /* the symbol of the positions that a call adds to the caches, or -1 */
    bool in_steps;                      /* position by position gives the same outputs */
    const char *origin;                 /* "golden.safetensors", "inputs drawn from seed 0", for people */
} ShipCase;

typedef enum ShipProgram { SHIP_ANY, SHIP_TOKENS, SHIP_BYTES } ShipProgram;     /* what example.c does: one call; it continues a row of tokens, a text */

typedef struct Shipment {
    Compilation *c;
    const CompileOptions *o;
    const Shipped *code;
    ShipThreads threads;
    bool embed, lib, force;             /* lib: the libraries are made, too; force: over files that somebody else wrote or changed */
    ShipProgram program;
    ShipCase test;
    uint64_t content;                   /* of the weights, once they are written */
} Shipment;

/* Names of targets with commas between them, NULL: this machine's; each once, or E0852. NULL after a diagnostic. */
const Target **ship_targets(Compilation *c, const char *list, int *count);

/* A call of all inputs at small sizes, drawn from `seed`, and what the float64 interpreter gives for it; with `inputs` for these. Takes the model with
 * its approximations, if it has any. False if errors were reported. */
bool ship_compute(Shipment *s, const HostTensor *inputs, uint64_t seed);

/* Writes the folder: first elsewhere, then each file takes its name. E1010, E1012. False leaves what was there as it was. */
bool ship_write(Shipment *s, const char *folder);

/* ---- the texts (ship_selftest.c, ship_example.c, ship_make.c, ship_readme.c) ---- */

const char *ship_selftest(const Shipment *s);
const char *ship_example(const Shipment *s);
const char *ship_makefile(const Shipment *s);
const char *ship_cmake(const Shipment *s);
const char *ship_embedded(const Shipment *s);           /* NAME_weights.c */
typedef struct ShipFile { const char *name; uint64_t bytes, hash; } ShipFile;
const char *ship_readme(const Shipment *s, const ShipFile *files, int n);       /* of the other files of the folder */
/* The files that a README.md of ship_readme lists, and for which model; false if the text is none. */
bool ship_readme_read(Arena *a, const char *text, const char **model, ShipFile **files, int *n);

/* `text` with @ for the model's name and @@ for the same in capitals; \x01 stands for a @. */
void ship_named(const Shipment *s, Text *out, const char *text);

#endif

/* linear_attend with documents: the positions of each document as a list, whether or not they are neighbours. */
#include "codegen/linear_inside.h"

void linear_emit_chain(Linear *l)
{
    Kernel *k = l->k;
    static const char *const items[] = {"const int *restrict document", "ptrdiff_t step", "ptrdiff_t keys",
                                        "int *restrict next", "int *restrict last"};
    Text before = linear_open_alone(
        l,
        "next[t]: the next position of the same document, -1 after the last. last[2 * keys + 1] is a table of the\n"
        " * documents met so far, each at its own slot or the first free one behind it.",
        "void", l->chain, items, 5);
    put_line(k, "const ptrdiff_t slots = 2 * keys + 1;");
    put_line(k, "for (ptrdiff_t i = 0; i < slots; i++)");
    put_line(k, "    last[i] = -1;");
    put_open(k, "for (ptrdiff_t t = 0; t < keys; t++)");
    put_line(k, "const int id = document[t * step];");
    put_line(k, "ptrdiff_t slot = (ptrdiff_t)((unsigned)id * 2654435761u) %% slots;");
    put_line(k, "while (last[slot] >= 0 && document[last[slot] * step] != id)");
    put_line(k, "    slot = slot + 1 == slots ? 0 : slot + 1;");
    put_line(k, "if (last[slot] >= 0)");
    put_line(k, "    next[last[slot]] = (int)t;");
    put_line(k, "next[t] = -1;");
    put_line(k, "last[slot] = (int)t;");
    put_close(k);
    linear_close(l, before);
}

void linear_emit_collect(Linear *l)
{
    Kernel *k = l->k;
    static const char *const items[] = {"ptrdiff_t first", "int *restrict next", "int *restrict at"};
    Text before = linear_open_alone(
        l, "The positions of the document that begins at `first`, in order; how many. They are not met again.",
        "ptrdiff_t", l->collect, items, 3);
    put_line(k, "ptrdiff_t count = 0;");
    put_open(k, "for (ptrdiff_t t = first, after; t >= 0; t = after)");
    put_line(k, "after = next[t];");
    put_line(k, "next[t] = -2;");
    put_line(k, "at[count++] = (int)t;");
    put_close(k);
    put_line(k, "return count;");
    linear_close(l, before);
}

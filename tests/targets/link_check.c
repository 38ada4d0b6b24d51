/* Objects for the machine that this runs on, linked by runtime/link.c, against the same code linked by the system:
 *
 *     link_check ONE.o TWO.o
 *
 * PASS, or what differs. */
#include <stdio.h>
#include <stdlib.h>

#include "runtime/link.h"

int check(int n);

static LinkObject read_object(const char *path)
{
    FILE *f = fopen(path, "rb");
    static unsigned char data[2][1 << 20];
    static int next;
    LinkObject o = {data[next], f ? fread(data[next], 1, sizeof data[next], f) : 0};
    next++;
    if (f)
        fclose(f);
    return o;
}

int main(int argc, char **argv)
{
    char message[LINK_MESSAGE];
    LinkObject objects[2];
    for (int i = 0; i < 2; i++)
        objects[i] = read_object(argc == 3 ? argv[1 + i] : "");
    Code *code = objects[0].bytes && objects[1].bytes ? code_link(objects, 2, message) : NULL;
    if (!code)
        return printf("not linked: %s\n", message), 1;
    int (*linked)(int) = (int (*)(int))code_symbol(code, "check");
    int failed = !linked || code_symbol(code, "words");
    for (int n = 0; linked && n < 70; n++) {
        int want = check(n), got = linked(n);
        if (want != got)
            failed = printf("check(%d) is %d, not %d\n", n, got, want);
    }
    code_free(code);
    puts(failed ? "FAIL" : "PASS");
    return failed != 0;
}

/* Makefile, CMakeLists.txt and NAME_weights.c of a built model. */
#include <string.h>

#include "driver/ship.h"

/* The objects of the model: NAME.o, and NAME_weights.o if the weights are in the program. */
static const char *objects(const Shipment *s, const char *suffix)
{
    const char *name = s->code->name;
    return s->embed ? arena_print(&s->c->arena, "%s%s %s_weights%s", name, suffix, name, suffix) : arena_print(&s->c->arena, "%s%s", name, suffix);
}

static const char *thread_flag(const Shipment *s)
{
    return s->threads == SHIP_THREADS_NONE ? "" : " -pthread";
}

/* ---- make -------------------------------------------------------------------------------------------------------- */

static const char make_head[] =
    "#     make              example and selftest\n"
    "#     make check        runs selftest: PASS and the largest error\n"
    "#     make lib          lib@.a, lib@.so and @.pc for pkg-config\n"
    "#     make install      these and @.h below PREFIX (/usr/local)\n"
    "#\n"
    "# CC, CFLAGS, LDFLAGS, AR and RUN are yours. For another machine, and an emulator to check it here:\n"
    "#     make CC=aarch64-linux-gnu-gcc LDFLAGS=-static RUN=qemu-aarch64 check\n"
    "CFLAGS ?= -O2 -Wall -Wextra\n"
    "PREFIX ?= /usr/local\n\n";

static const char make_rules[] =
    "all: example selftest\n\n"
    "check: selftest\n"
    "\t$(RUN) ./selftest$(EXE)%s\n\n"
    "@.o: @.c @.h\n"
    "\t$(CC) $(CFLAGS) $(KERNELS) -c @.c -o $\x01\n\n"
    "example.o selftest.o: %%.o: %%.c @.h\n"
    "\t$(CC) $(CFLAGS)%s -std=c11 -D_POSIX_C_SOURCE=200809L -c $< -o $\x01\n\n"
    "example selftest: %%: %%.o $(OBJECTS)\n"
    "\t$(CC) $(LDFLAGS) $^ -lm%s -o $\x01$(EXE)\n\n";

static const char make_lib[] =
    "lib: lib@.a lib@.so @.pc\n\n"
    "lib@.a: $(OBJECTS)\n"
    "\t$(AR) rcs $\x01 $^\n\n"
    "@.pic.o: @.c @.h\n"
    "\t$(CC) $(CFLAGS) $(KERNELS) -fPIC -c @.c -o $\x01\n\n"
    "lib@.so: $(SHARED)\n"
    "\t$(CC) -shared $(LDFLAGS) $^ -lm%s -o $\x01\n\n"
    "@.pc:\n"
    "\tprintf '%%s\\n' 'prefix=$${pcfiledir}' 'Name: @' 'Description: %s' 'Version: 1' 'Cflags: -I$${prefix}' 'Libs: -L$${prefix} -l@ -lm%s' >$\x01\n\n"
    "install: lib\n"
    "\tmkdir -p $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/share/@\n"
    "\tcp @.h $(DESTDIR)$(PREFIX)/include\n"
    "\tcp lib@.a lib@.so $(DESTDIR)$(PREFIX)/lib\n"
    "\tcp @.weights $(DESTDIR)$(PREFIX)/share/@\n"
    "\tsed -e 's|^prefix=.*|prefix=$(PREFIX)|' -e 's|-I$${prefix}|&/include|' -e 's|-L$${prefix}|&/lib|' @.pc >$(DESTDIR)$(PREFIX)/lib/pkgconfig/@.pc\n\n"
    "clean:\n"
    "\trm -f *.o example selftest lib@.a lib@.so @.pc\n\n"
    ".PHONY: all check lib install clean\n";

static const char embedded_rules[] =
    "@_weights.o @_weights.pic.o: @_weights.c @.weights\n"
    "\t$(CC) $(CFLAGS) -fPIC -c @_weights.c -o $\x01\n\n";

const char *ship_makefile(const Shipment *s)
{
    Arena *a = &s->c->arena;
    const Shipped *code = s->code;
    Text out = text_new(a);
    ship_named(s, &out, "# @ by any make and C compiler of the GNU kind: gcc or clang.\n#\n");
    ship_named(s, &out, make_head);
    text_add(&out, "# How the kernels are compiled: nothing but what is written is fused or left out, so a machine gives the same bits each time.\n");
    text_add(&out, code->gcc_flags ? "ifneq ($(findstring clang,$(shell $(CC) --version 2>/dev/null)),)\nKERNELS = %s\n" : "KERNELS = %s\n", code->clang_flags);
    for (int i = 0; i < code->n_machines; i++)
        text_add(&out, "KERNELS += $(if $(filter %s%%,$(shell $(CC) -dumpmachine)),%s)\n", code->machines[i].name, code->machines[i].clang_flags);
    text_add(&out, code->gcc_flags ? "else\nKERNELS = %s\nendif\n\n" : "\n", code->gcc_flags);
    text_add(&out, "OBJECTS = %s\nSHARED = %s\n\n", objects(s, ".o"), objects(s, ".pic.o"));
    const char *pthread = thread_flag(s);
    ship_named(s, &out, arena_print(a, make_rules, s->embed ? "" : " @.weights", pthread, pthread));
    if (s->embed)
        ship_named(s, &out, embedded_rules);
    ship_named(s, &out, arena_print(a, make_lib, pthread, arena_print(a, "the model %s as C functions", s->c->model.graph->name), pthread));
    return out.data;
}

/* ---- cmake ------------------------------------------------------------------------------------------------------- */

static const char *semicolons(Arena *a, const char *flags)
{
    char *copy = arena_copy(a, flags, strlen(flags));
    for (char *p = copy; *p; p++)
        *p = *p == ' ' ? ';' : *p;
    return copy;
}

const char *ship_cmake(const Shipment *s)
{
    Arena *a = &s->c->arena;
    const Shipped *code = s->code;
    Text out = text_new(a);
    ship_named(s, &out, "# @ as a library target, for add_subdirectory or by itself: cmake -B build && cmake --build build && ctest --test-dir build\n"
                        "cmake_minimum_required(VERSION 3.16)\nproject(@ LANGUAGES C)\nset(CMAKE_C_STANDARD 11)\nif(NOT CMAKE_BUILD_TYPE)\n  set(CMAKE_BUILD_TYPE Release)\nendif()\n\n");
    ship_named(s, &out, s->embed ? "add_library(@ @.c @_weights.c)\n" : "add_library(@ @.c)\n");
    if (s->embed)
        ship_named(s, &out, "target_compile_definitions(@ PRIVATE @@_WEIGHTS_FILE=\"${CMAKE_CURRENT_SOURCE_DIR}/@.weights\")\n"
                            "set_source_files_properties(@_weights.c PROPERTIES OBJECT_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/@.weights)\n");
    ship_named(s, &out, "target_include_directories(@ PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})\nset_target_properties(@ PROPERTIES POSITION_INDEPENDENT_CODE ON)\n");
    if (code->gcc_flags)
        ship_named(s, &out, arena_print(a, "if(CMAKE_C_COMPILER_ID MATCHES \"Clang\")\n  set(@_flags \"%s\")\nelse()\n  set(@_flags \"%s\")\nendif()\n",
                                        semicolons(a, code->clang_flags), semicolons(a, code->gcc_flags)));
    else
        ship_named(s, &out, arena_print(a, "set(@_flags \"%s\")\n", semicolons(a, code->clang_flags)));
    for (int i = 0; i < code->n_machines; i++)
        ship_named(s, &out, arena_print(a, "if(CMAKE_C_COMPILER_ID MATCHES \"Clang\" AND CMAKE_SYSTEM_PROCESSOR MATCHES \"^%s\")\n  list(APPEND @_flags %s)\nendif()\n",
                                        code->machines[i].name, code->machines[i].clang_flags));
    ship_named(s, &out, "set_source_files_properties(@.c PROPERTIES COMPILE_OPTIONS \"${@_flags}\")\n");
    if (s->threads)
        ship_named(s, &out, "set(THREADS_PREFER_PTHREAD_FLAG ON)\nfind_package(Threads REQUIRED)\ntarget_link_libraries(@ PUBLIC m Threads::Threads)\n");
    else
        ship_named(s, &out, "target_link_libraries(@ PUBLIC m)\n");
    ship_named(s, &out, arena_print(a, "\nadd_executable(@_example example.c)\ntarget_link_libraries(@_example @)\nadd_executable(@_selftest selftest.c)\ntarget_link_libraries(@_selftest @)\n"
                                       "enable_testing()\nadd_test(NAME @ COMMAND @_selftest%s)\n", s->embed ? "" : " ${CMAKE_CURRENT_SOURCE_DIR}/@.weights"));
    return out.data;
}

/* ---- weights in the program -------------------------------------------------------------------------------------- */

static const char embedded[] =
    "/* @.weights as an array of the program. Assemblers of ELF and Mach-O take the file as it is; other compilers by #embed (clang 19, gcc 15). */\n"
    "#include \"@.h\"\n\n"
    "#ifndef @@_WEIGHTS_FILE\n#define @@_WEIGHTS_FILE \"@.weights\"\n#endif\n\n"
    "#if defined __ELF__ && !defined __wasm__\n"
    "__asm__(\".section .rodata.@_weights,\\\"a\\\"\\n\"\n"
    "        \".balign 64\\n\"\n"
    "        \".globl @_weights\\n\"\n"
    "        \".type @_weights, %object\\n\"\n"
    "        \"@_weights:\\n\"\n"
    "        \".incbin \\\"\" @@_WEIGHTS_FILE \"\\\"\\n\"\n"
    "        \".size @_weights, . - @_weights\\n\"\n"
    "        \".text\\n\");\n"
    "#elif defined __APPLE__\n"
    "__asm__(\".const\\n.balign 64\\n.globl _@_weights\\n_@_weights:\\n.incbin \\\"\" @@_WEIGHTS_FILE \"\\\"\\n.text\\n\");\n"
    "#else\n"
    "#ifdef __clang__\n#pragma clang diagnostic ignored \"-Wc23-extensions\"\n#endif\n"
    "_Alignas(64) const unsigned char @_weights[@@_WEIGHTS_BYTES] = {\n#embed @@_WEIGHTS_FILE\n};\n"
    "#endif\n";

const char *ship_embedded(const Shipment *s)
{
    Text out = text_new(&s->c->arena);
    ship_named(s, &out, embedded);
    return out.data;
}

/* A plugin for QEMU's user-mode emulators (plugin API version 1, as of QEMU 7.2): how often each block of instructions was
 * run. At the program's end it writes to the file named by `out=` the address of the program's code, then a line for each
 * block: address, instructions, executions.
 *
 *     gcc -O2 -shared -fPIC -o count-blocks.so count-blocks.c
 *     qemu-aarch64 -plugin ./count-blocks.so,out=FILE PROGRAM ...
 *
 * QEMU's header is in no Debian package, so what is used of it is declared here. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
enum { ADD_U64 = 0 };
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_start_code(void);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);

EXPORT int qemu_plugin_version = 1;

/* Blocks are never freed: QEMU adds to their counts for as long as it runs. A block that is translated anew gets another
 * entry; the reader adds them up. */
struct block {
    struct block *next;
    uint64_t address, instructions, executions;
};
static struct block *blocks;
static const char *path;

static void translated(plugin_id id, struct qemu_plugin_tb *tb)
{
    struct block *block = calloc(1, sizeof *block);
    (void)id;
    if (!block)
        abort();
    block->address = qemu_plugin_tb_vaddr(tb);
    block->instructions = qemu_plugin_tb_n_insns(tb);
    /* Translation is under a lock of QEMU's. */
    block->next = blocks;
    blocks = block;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &block->executions, 1);
}

static void ended(plugin_id id, void *data)
{
    FILE *file = fopen(path, "w");
    (void)id;
    (void)data;
    if (!file) {
        perror(path);
        return;
    }
    fprintf(file, "%" PRIu64 "\n", qemu_plugin_start_code());
    for (const struct block *b = blocks; b; b = b->next)
        if (b->executions)
            fprintf(file, "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", b->address, b->instructions, b->executions);
    fclose(file);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    if (argc != 1 || strncmp(argv[0], "out=", 4)) {
        fputs("count-blocks: out=FILE is missing\n", stderr);
        return 1;
    }
    path = strdup(argv[0] + 4);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* ROM, shadow and flash of a PC that starts from firmware. */
#include "guest/pc/firmware.h"
#include "guest/pc/pc.h"

#include "arch/bytes.h"
#include "arch/log.h"
#include "arch/panic.h"
#include "arch/string.h"
#include "guest/pc/firmware_files.h"
#include "guest/pc/layout.h"
#include "guest/pc/pc_memory.h"
#include "mm/guestspace.h"

#define LOW_ROM      0x20000ull /* of it appears below 1 MiB */
#define SHADOW_BYTES (LAYOUT_MIB - LAYOUT_SHADOW)
#define SHADOW_PAGES (SHADOW_BYTES / PAGE_SIZE)

/* UEFI Platform Initialization Specification, "Firmware Volume Header". */
enum { FV_GUID = 16, FV_LENGTH = 32, FV_SIGNATURE = 40, FV_HEADER_BYTES = 56 };
static const uint8_t variable_guid[16] = {0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c,
                                          0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50};

static hpa_t ram_at(const struct pc *pc, gpa_t at)
{
    return hpa(pc->memory.piece[0].base.v + at.v);
}

static hpa_t rom_at(const struct pc *pc, gpa_t at)
{
    return hpa(pc->memory.rom.base.v + (at.v - LAYOUT_SHADOW));
}

/* Maps what a piece is to show: for all vCPUs, for those of them too who are on copies of its pages
 * (step.c), and for copies from and to the VM's memory. */
static void show(struct pc *pc, unsigned piece, enum firmware_shown what)
{
    const gpa_t base = gpa(vchipset_piece_start(piece));
    const uint64_t bytes = vchipset_piece_start(piece + 1) - base.v;
    const hpa_t host = what == SHOWN_ROM ? rom_at(pc, base) : ram_at(pc, base);
    const unsigned perms = what == SHOWN_RAM ? MAP_RWX : MAP_RX;
    pc->firmware.shown[piece] = (uint8_t)what;
    guestmem_replace(&pc->vm.mem, base, guestspace_ptr(host), what != SHOWN_RAM);
    for (uint64_t at = 0; at < bytes; at += PAGE_SIZE)
        if (pc->vm.engine->redirect(&pc->vm, gpa(base.v + at), hpa(host.v + at), perms) != OK)
            panic("%s: nothing mapped at 0x%lx", pc->vm.name, base.v + at);
}

/* The guest has written PAM registers: of what they are about little changes as a rule, or none. */
static void shadow_changed(void *ctx)
{
    struct pc *pc = ctx;
    bool changed = false;
    for (unsigned piece = 0; piece < VCHIPSET_PIECES; piece++) {
        const struct vchipset_shadow s = vchipset_shadow(&pc->chipset, piece);
        const enum firmware_shown what = !s.read_ram    ? SHOWN_ROM
                                         : !s.write_ram ? SHOWN_RAM_READ_ONLY
                                                        : SHOWN_RAM;
        if (what == pc->firmware.shown[piece])
            continue;
        show(pc, piece, what);
        changed = true;
    }
    if (changed)
        vm_memory_changed(&pc->vm);
}

static unsigned piece_of(gpa_t at)
{
    unsigned piece = VCHIPSET_PIECES - 1;
    while (piece > 0 && at.v < vchipset_piece_start(piece))
        piece--;
    return piece;
}

/* A write to what is not RAM for reads and writes both. */
static void shadow_write(void *dev, gpa_t at, unsigned bytes, uint64_t value)
{
    struct pc *pc = dev;
    const struct vchipset_shadow s = vchipset_shadow(&pc->chipset, piece_of(at));
    if (s.write_ram && !s.read_ram)
        put_le(guestspace_ptr(ram_at(pc, at)), bytes, value);
}

static uint64_t shadow_read(void *dev, gpa_t at, unsigned bytes)
{
    uint64_t value = UINT64_MAX;
    (void)guestmem_read(&((struct pc *)dev)->vm.mem, at, &value, bytes);
    return value;
}

/* The image's end, with all ones below it. */
static enum status make_low_rom(struct pc *pc, const uint8_t *image, uint64_t size)
{
    const enum status s = pc_memory_take(&pc->memory, &pc->memory.rom, SHADOW_PAGES, 1);
    if (s != OK)
        return s;
    const uint64_t low = size < LOW_ROM ? size : LOW_ROM;
    uint8_t *rom = guestspace_ptr(pc->memory.rom.base);
    memset(rom, 0xff, SHADOW_BYTES - low);
    memcpy(rom + SHADOW_BYTES - low, image + size - low, low);
    return OK;
}

/* RAM is mapped so far. What a reset has kept is the ROM, with the registers. */
static enum status make_shadow(struct pc *pc, const uint8_t *image, uint64_t size,
                               const struct firmware_kept *kept)
{
    const struct mmio_range range = {.first = gpa(LAYOUT_SHADOW),
                                     .last = gpa(LAYOUT_MIB - 1),
                                     .dev = pc,
                                     .read = shadow_read,
                                     .write = shadow_write};
    enum status s = bus_add_mmio(&pc->vm.bus, &range);
    if (s == OK && pc->memory.rom.pages == 0)
        s = make_low_rom(pc, image, size);
    else if (s == OK)
        for (unsigned i = 0; i < VCHIPSET_PAMS; i++)
            vpci_write(&pc->pci, VCHIPSET_HOST, VCHIPSET_PAM0 + i, 1, kept->pam[i]);
    if (s != OK)
        return s;
    pc->chipset.shadow_changed = shadow_changed;
    pc->chipset.shadow_ctx = pc;
    shadow_changed(pc);
    return OK;
}

static void flash_mode_changed(void *ctx, bool array)
{
    struct pc *pc = ctx;
    const struct vflash *flash = &pc->firmware.flash;
    if (pc->vm.engine->protect(&pc->vm, flash->base, flash->bytes, array ? MAP_R : 0) != OK)
        panic("%s: no EPT entries for its flash", pc->vm.name);
    vm_memory_changed(&pc->vm);
}

uint64_t firmware_variable_bytes(const uint8_t *rom, uint64_t size)
{
    if (size < FV_HEADER_BYTES)
        return 0;
    const uint64_t length = get_le64(rom + FV_LENGTH);
    if (memcmp(rom + FV_GUID, variable_guid, sizeof(variable_guid)) != 0 ||
        memcmp(rom + FV_SIGNATURE, "_FVH", 4) != 0)
        return 0;
    return length < size && length % VFLASH_BLOCK == 0 ? length : 0;
}

/* flash: bytes at its start that can be written. */
static enum status map_rom(struct pc *pc, hpa_t image, uint64_t size, uint64_t flash)
{
    struct vm *vm = &pc->vm;
    uint8_t *rom = hpa_to_ptr(image);
    const gpa_t base = gpa(LAYOUT_4GIB - size);
    enum status s =
        vm->engine->map(vm, gpa(base.v + flash), hpa(image.v + flash), size - flash, MAP_RX);
    if (s == OK)
        s = guestmem_add(&pc->vm.mem, gpa(base.v + flash), size - flash, rom + flash);
    if (s != OK)
        return s;
    guestmem_replace(&pc->vm.mem, gpa(base.v + flash), rom + flash, true);
    if (flash == 0)
        return OK;
    s = vm->engine->map(vm, base, image, flash, MAP_R);
    pc->firmware.flash = (struct vflash){
        .base = base,
        .bytes = flash,
        .memory = rom,
        .mode_changed = flash_mode_changed,
        .ctx = pc,
    };
    vflash_init(&pc->firmware.flash);
    const struct mmio_range range = {.first = base,
                                     .last = gpa(base.v + flash - 1),
                                     .dev = &pc->firmware.flash,
                                     .read = vflash_read,
                                     .write = vflash_write};
    return s == OK ? bus_add_mmio(&pc->vm.bus, &range) : s;
}

enum status firmware_load(struct pc *pc, const struct vm_config *config,
                          const struct firmware_kept *kept)
{
    const struct config_files firmware = {.is_firmware = true};
    const struct loaded_file *file = &config->firmware;
    struct config_error error;
    if (!config_check_size(&firmware, file, &error)) {
        log_line_of(pc->vm.log, "error: nadir.cfg:%u: %s", error.line, error.text);
        return ERR_BAD_INPUT;
    }
    enum status s = map_rom(pc, hpa(file->base), file->size, config->firmware_variables);
    if (s == OK)
        s = make_shadow(pc, hpa_to_ptr(hpa(file->base)), file->size, kept);
    if (s == OK)
        s = firmware_files_init(pc, config);
    if (s != OK) {
        log_line_of(pc->vm.log, "vm %s: cannot set up its firmware: %s", config->name,
                    status_text(s));
        return s;
    }
    for (uint32_t i = 0; i < pc->vm.vcpu_count; i++)
        vcpu_mtrr_power_on(pc->vm.vcpu[i]);
    pc->vm.from_reset = true;
    pc->boot = cpu_state_reset(cpuid_table_find(&pc->vm.cpuid, 1, 0)->eax);
    return OK;
}

void firmware_keep(const struct pc *pc, struct firmware_kept *kept)
{
    memcpy(kept->pam, &pc->chipset.host.config[VCHIPSET_PAM0], sizeof(kept->pam));
}

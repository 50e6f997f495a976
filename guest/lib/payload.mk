# SPDX-License-Identifier: BSD-2-Clause
# Programs for guests: each folder guest/payloads/NAME and guest/payloads/tests/NAME becomes build/payloads/NAME.bin.
# A payload.ld in a folder takes the place of guest/lib's; with a payload32.ld it is a 32-bit program, without guest/lib.
# With pv at either end of its name it is a paravirtual kernel, and the .elf is what counts.

GUEST_CFLAGS := $(BASE) -m64 -mgeneral-regs-only -mcmodel=small -fno-pic -fno-pie
GUEST32_CFLAGS := $(BASE) -m32 -mgeneral-regs-only -fno-pic -fno-pie
GUEST_OBJ := $(patsubst %,$B/payloads/%.o,$(wildcard guest/lib/*.asm guest/lib/*.c))
PAYLOAD_SRC := $(foreach e,c asm,$(wildcard guest/payloads/*/*.$e guest/payloads/tests/*/*.$e))
PAYLOAD_DIRS := $(sort $(patsubst %/,%,$(dir $(PAYLOAD_SRC))))
PAYLOADS := $(foreach d,$(PAYLOAD_DIRS),$B/payloads/$(notdir $d).bin)

define payload_rule
$B/payloads/$(notdir $1).elf: $(firstword $(wildcard $1/payload.ld $1/payload32.ld) $(if $(filter pv% %pv,$(notdir $1)),guest/lib/payload_pv.ld) guest/lib/payload.ld) $(patsubst %,$B/payloads/%.o,$(filter $1/%,$(PAYLOAD_SRC))) $(if $(wildcard $1/payload32.ld),,$B/payloads/lib.a)
$(if $(wildcard $1/payload32.ld),$B/payloads/$1/%.o: GUEST_CFLAGS = $(GUEST32_CFLAGS)
$B/payloads/$1/%.o: GUEST_FORMAT = elf32)
endef
GUEST_FORMAT = elf64
$(foreach d,$(PAYLOAD_DIRS),$(eval $(call payload_rule,$d)))

# A payload takes of guest/lib what it uses.
$B/payloads/lib.a: $(GUEST_OBJ)
	$(call say,AR   )
	$Qrm -f $@ && ar rcs $@ $^
$B/payloads/%.elf:
	$(call say,LINK )
	$Qld $(if $(filter %/payload32.ld,$<),-m elf_i386) -nostdlib -static -z noexecstack --build-id=none --no-warn-rwx-segments -T $< -o $@ $(filter %.o %.a,$^)
$B/payloads/%.bin: $B/payloads/%.elf
	$Qobjcopy -O binary -j .image $< $@
$B/payloads/%.c.o: %.c | $B/.deps
	$(call say,CC   )
	$Qgcc $(GUEST_CFLAGS) $(DEPS) -c $< -o $@
$B/payloads/%.asm.o: %.asm | $B/.deps
	$(call say,ASM  )
	$Qnasm -f $(GUEST_FORMAT) -g -F dwarf -Werror -I guest/lib/ -MD $@.d -MP $< -o $@

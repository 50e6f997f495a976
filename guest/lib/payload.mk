# SPDX-License-Identifier: BSD-2-Clause
# Programs for guests: each folder guest/payloads/NAME and guest/payloads/tests/NAME becomes build/payloads/NAME.bin.
# A payload.ld in a folder takes the place of guest/lib's.

GUEST_CFLAGS := $(BASE) -m64 -mgeneral-regs-only -mcmodel=small -fno-pic -fno-pie
GUEST_OBJ := $(patsubst %,$B/payloads/%.o,$(wildcard guest/lib/*.asm guest/lib/*.c))
PAYLOAD_SRC := $(foreach e,c asm,$(wildcard guest/payloads/*/*.$e guest/payloads/tests/*/*.$e))
PAYLOAD_DIRS := $(sort $(patsubst %/,%,$(dir $(PAYLOAD_SRC))))
PAYLOADS := $(foreach d,$(PAYLOAD_DIRS),$B/payloads/$(notdir $d).bin)

define payload_rule
$B/payloads/$(notdir $1).elf: $(firstword $(wildcard $1/payload.ld) guest/lib/payload.ld) $(patsubst %,$B/payloads/%.o,$(filter $1/%,$(PAYLOAD_SRC))) $B/payloads/lib.a
endef
$(foreach d,$(PAYLOAD_DIRS),$(eval $(call payload_rule,$d)))

# A payload takes of guest/lib what it uses.
$B/payloads/lib.a: $(GUEST_OBJ)
	$(call say,AR   )
	$Qrm -f $@ && ar rcs $@ $^
$B/payloads/%.elf:
	$(call say,LINK )
	$Qld -nostdlib -static -z noexecstack --build-id=none --no-warn-rwx-segments -T $< -o $@ $(filter %.o %.a,$^)
$B/payloads/%.bin: $B/payloads/%.elf
	$Qobjcopy -O binary -j .image $< $@
$B/payloads/%.c.o: %.c | $B/.deps
	$(call say,CC   )
	$Qgcc $(GUEST_CFLAGS) $(DEPS) -c $< -o $@
$B/payloads/%.asm.o: %.asm | $B/.deps
	$(call say,ASM  )
	$Qnasm -f elf64 -g -F dwarf -Werror -I guest/lib/ -MD $@.d -MP $< -o $@

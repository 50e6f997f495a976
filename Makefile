# SPDX-License-Identifier: BSD-2-Clause
# Builds Nadir, runs it and tests it. `make help` lists the targets; tools/nadir runs other configurations.

B := build
# As many jobs as there are CPUs, unless told otherwise, but where `clean` is to come before what is made.
ifeq ($(MAKELEVEL)$(filter clean,$(MAKECMDGOALS)),0)
MAKEFLAGS += -j$(shell nproc)
endif
export PATH := $(PATH):/usr/sbin:/sbin# where mkfs.fat is, and only root has it in the PATH on Debian
WARN := -Wall -Wextra -Werror -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wvla
BASE := -std=c11 -O2 -g -I. -I$B -ffreestanding -fno-stack-protector -mno-red-zone -fcf-protection=none \
	-fno-asynchronous-unwind-tables $(WARN)
HV_CFLAGS := $(BASE) -fcf-protection=branch -mgeneral-regs-only -mcmodel=small -mindirect-branch=thunk-extern \
	-mindirect-branch-register -mharden-sls=indirect-jmp -fno-jump-tables -mstack-protector-guard=global -fpie -include arch/hidden.h \
	-ffunction-sections -fdata-sections $(if $(DEV),,-flto=auto)
EFI_CFLAGS := $(BASE) -fpic -fshort-wchar -DGNU_EFI_USE_MS_ABI -isystem /usr/include/efi -isystem /usr/include/efi/x86_64
UNIT_CFLAGS := -std=c11 -g1 -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -Wall -Wextra -Werror -I. -I$B -DCHECK_EXIT=1
# Link-time optimisation lets the way of an exit be inlined across files: some 20 instructions of each. `make DEV=1`
# goes without, to link in a moment while one edits; its objects are kept apart, and $B/.variant says whose stand linked.
HV := $B/$(if $(DEV),dev,hv)
LDFLAGS := -nostdlib -static -no-pie -Wl,-z,noexecstack,-z,max-page-size=4096,--build-id=none,--gc-sections
DEPS = -MMD -MP -MF $@.d
# Of several sources at once, for which the compiler would write the file anew each time.
deps_of_many = gcc $1 -MM -MP -MT $@ $(filter %.c,$^) > $@.d
# Names what is being made; `make V=1` shows the commands.
Q := $(if $(V),,@)
say = @mkdir -p $(@D); $(if $(V),:,echo "  $1  $@")

# The hypervisor: every C and assembly file of these flat folders, but for the loader.
HV_SRC := $(filter-out boot/efi_%, \
	$(wildcard $(foreach d,boot arch mm vmx drivers/bus drivers/host drivers/virt \
	guest guest/cpu guest/vm guest/ring3 guest/bt guest/pv guest/pc guest/load guest/monitor,$d/*.c $d/*.asm)))
HV_OBJ := $(HV_SRC:%=$(HV)/%.o)
EFI_OBJ := $(patsubst %,$B/efi/%.o,$(wildcard boot/efi_*.c guest/config*.c) $(wildcard guest/load/*.c) mm/guestmem.c arch/format.c \
	drivers/host/acpi.c vmx/caps.c)
UNIT := $(patsubst tests/%.c,$B/%,$(wildcard tests/unit/test_*.c))
FUZZ := $(patsubst tests/%.c,$B/%,$(wildcard tests/fuzz/fuzz_*.c))
MANUAL := $B/man/man1/nadir.1 $B/man/man5/nadir.cfg.5 $B/nadir.bash
PAYLOADS := # guest/lib/payload.mk adds each program for guests here, and says how it is built

.PHONY: all deps bochs run check check-entry bench engines bench-kvm usb image gdb check-nested unit mutants fuzz lint format system demo clean \
	help FORCE
.DELETE_ON_ERROR:
.SECONDARY: # keeps what stands between, as nadir.efi.so
.SECONDEXPANSION:
all: $B/nadir.efi $B/native.efi $B/late.efi $B/bare.efi $B/nadir.sym $(if $(DEV),,$B/nadir.dis) $B/check_config $B/warm.rom $B/warm_ram $(MANUAL) payloads ## build everything (the default)

-include guest/lib/payload.mk
.PHONY: payloads
payloads: $(PAYLOADS)

# --- the hypervisor ---
$(HV)/%.c.o: %.c | $B/.deps
	$(call say,CC   )
	$Qgcc $(HV_CFLAGS) $(HV_FP) $(DEPS) -c $< -o $@
# The compiler uses memcpy() and its like, and the stack protector, by itself, after the linker's plug-in has looked for
# users.
$(HV)/arch/string.c.o $(HV)/arch/canary.c.o: HV_CFLAGS += -fno-lto
# Frame pointers make back-traces; the way of an exit goes without: they cost 3 to 10 % of it, and the stack protector 3 %
# more: there it guards arrays of bytes in devices and guest/vm. Said for each file, for the linker would take the one's
# word for all.
FAST = vmx/% mm/% drivers/bus/% guest/cpu/% guest/vm/exit_memory.c guest/vm/linear.c
HV_FP = $(if $(filter $(FAST),$<),-fomit-frame-pointer,$(if $(filter drivers/virt/% guest/vm/%,$<),-fomit-frame-pointer \
	-fstack-protector,-fno-omit-frame-pointer $(if $(filter tools/native/%,$<),,-fstack-protector-strong)))
$(HV)/%.asm.o: %.asm | $B/.deps
	$(call say,ASM  )
	$Qnasm -f elf64 -g -F dwarf -Werror -I $B/ -MD $@.d -MP $< -o $@
define link_hv
	$(call say,LINK )
	$Qgcc $(HV_CFLAGS) $(LDFLAGS) -T $< -o $@ $(filter %.o,$^)
	$Qtools/branches.py $@
endef
$B/nadir.elf: boot/nadir.ld $(HV_OBJ) $B/.variant tools/branches.py
	$(link_hv)
$B/.variant: FORCE
	@mkdir -p $(@D)
	@echo '$(HV)' | cmp -s - $@ || echo '$(HV)' > $@
$B/nadir.sym: $B/nadir.elf
	$Qnm -n $< > $@
$B/nadir.dis: $B/nadir.elf
	$Qobjdump -d -S --no-show-raw-insn $< 2>/dev/null > $@

# --- what the loader carries in Nadir's place for `tools/nadir run --native`: a payload on the bare machine ---
$B/native.elf: boot/nadir.ld $(patsubst %,$(HV)/%.o,tools/native/native.c tools/native/native.asm arch/string.c) $B/.variant
	$(call say,LINK )
	$Qgcc $(HV_CFLAGS) $(LDFLAGS) -T $< -o $@ $(filter %.o,$^)

# --- for tests: a hypervisor that does something wrong at the end of its start; the VM's name says what ---
$B/astray.elf: boot/nadir.ld $(filter-out %/boot/main.c.o %/mm/host_cpu.c.o,$(HV_OBJ)) $(patsubst %,$(HV)/tests/astray/%.c.o,astray lost) $B/.variant
	$(link_hv)

# --- for tests: a hypervisor that checks each VM entry and each exit of bt; the files that ask are compiled once more ---
CHECKS := $(shell grep -lE 'CHECK_(ENTRY|EXIT)' $(filter %.c,$(HV_SRC)))
$(HV)/checked/%.c.o: HV_CFLAGS += -DCHECK_ENTRY=1 -DCHECK_EXIT=1
$(HV)/checked/%.c.o: %.c | $B/.deps
	$(call say,CC   )
	$Qgcc $(HV_CFLAGS) $(HV_FP) $(DEPS) -c $< -o $@
$B/check-entry.elf: boot/nadir.ld $(filter-out $(CHECKS:%=$(HV)/%.o),$(HV_OBJ)) $(CHECKS:%=$(HV)/checked/%.o) $B/.variant tools/branches.py
	$(link_hv)

# --- for tests: a hypervisor that runs code at CPL 3, and needs no VT-x ---
$B/ring3.elf: LDFLAGS += -Wl,-u,branch_sites,-u,branch_sites_end # which VT-x alone uses
$B/ring3.elf: boot/nadir.ld $(filter-out %/boot/main.c.o,$(HV_OBJ)) $(patsubst %,$(HV)/tests/ring3/%.o,ring3.c compute.c code.asm) $B/.variant
	$(link_hv)

# --- what is generated: the guests' DSDT ---
$B/dsdt.aml: guest/pc/dsdt.asl | $B/.deps
	$(call say,IASL )
	$Qiasl -ve -vs -p $@ $< >$@.log || { cat $@.log; exit 1; }
$(HV)/guest/pc/dsdt_aml.asm.o: $B/dsdt.aml

# --- the UEFI application, which carries the hypervisor ---
$B/efi/%.c.o: %.c | $B/.deps
	$(call say,CC   )
	$Qgcc $(EFI_CFLAGS) $(DEPS) -c $< -o $@
$B/efi/%.payload.o: boot/efi_payload.asm $B/%.stripped.elf
	$(call say,ASM  )
	$Qnasm -f elf64 -Werror -DCARRIED=$*.stripped.elf -I $B/ $< -o $@
$B/%.stripped.elf: $B/%.elf
	$Qobjcopy --strip-all $< $@
EFI_LINK = ld -nostdlib -shared -Bsymbolic -znocombreloc -z noexecstack --no-warn-rwx-segments -T /usr/lib/elf_x86_64_efi.lds \
	/usr/lib/crt0-efi-x86_64.o $^ -o $@ -L/usr/lib -lefi -lgnuefi --no-undefined
$B/%.efi.so: $(EFI_OBJ) $B/efi/%.payload.o
	$(call say,LINK )
	$Q$(EFI_LINK)
# The same whose loader does not look at the CPUs: tests without VT-x then get as far as the hypervisor's own refusal.
$B/late.efi.so $B/bare.efi.so: $B/%.efi.so: $(filter-out %/efi_cpus.c.o,$(EFI_OBJ)) $B/efi/tests/late/%.c.o $B/efi/nadir.payload.o
	$(call say,LINK )
	$Q$(EFI_LINK)
$B/ring3.efi.so: $(filter-out %/efi_cpus.c.o,$(EFI_OBJ)) $B/efi/tests/late/late.c.o $B/efi/ring3.payload.o
	$(call say,LINK )
	$Q$(EFI_LINK)
$B/%.efi: $B/%.efi.so
	$(call say,EFI  )
	$Qobjcopy -j .text -j .sdata -j .data -j .dynamic -j .rodata -j .dynsym -j '.rel*' -j '.rela*' -j .reloc \
		--output-target=efi-app-x86_64 --subsystem=10 $< $@

# --- parser and loaders of kernels for tools/nadir, which looks at a configuration before the machine does ---
$B/check_config: tools/check_config.c $(wildcard guest/config*.c guest/load/*.c) mm/guestmem.c arch/format.c | $B/.deps
	$(call say,HOST )
	$Qgcc -std=c11 -O1 -Wall -Wextra -Werror -I. $(filter %.c,$^) -o $@
	$Q$(call deps_of_many,-std=c11 -O1 -Wall -Wextra -Werror -I.)

# --- manual pages (man -M build/man nadir) and bash's completion, of what --help and the parser say ---
$(MANUAL): tools/manual.py tools/nadirlib/options.py boot/handoff.h $B/check_config
	$(call say,MAN  )
	$Qtools/manual.py $(@F) > $@

# --- what stands in the firmware's and the loader's place where a machine starts warm ---
$B/warm.rom: tools/warm/rom.asm | $B/.deps
	$(call say,ASM  )
	$Qnasm -f bin -Werror $< -o $@
$B/warm_ram: tools/warm/ram.c tools/warm/acpi.c boot/efi_elf.c boot/efi_regions.c guest/config.c guest/config_keys.c | $B/.deps
	$(call say,HOST )
	$Qgcc -std=gnu11 -O1 -Wall -Wextra -Werror -I. $(filter %.c,$^) -o $@
	$Q$(call deps_of_many,-std=gnu11 -O1 -Wall -Wextra -Werror -I.)

# --- running ---
# Less than `all`: what boots a configuration, in each emulator, or refuses to.
RUN := $B/nadir.efi $B/nadir.sym $B/check_config $B/warm.rom $B/warm_ram
deps: $B/.deps ## install what is missing
bochs: $B/.deps ## build the fast Bochs once, which emulates VT-x (two minutes)
	@tools/bochs_build.sh >/dev/null || echo "nadir: using the packaged Bochs, which is slower"
# Packages are looked at again when the list of them changes, when any is installed or removed, or a tool is missing.
$B/.deps: tools/install.sh $(wildcard /var/lib/dpkg/status) $(if $(shell for t in nasm iasl clang; do command -v $$t >/dev/null || echo $$t; done),FORCE)
	@mkdir -p $(@D)
	@tools/install.sh && touch $@
ifneq ($(filter-out auto vtx bt pv,$(ENGINE)),)
$(error ENGINE=$(ENGINE) is none of auto, vtx, bt, pv)
endif
demo: deps ## fetch Debian's kernel and make its initramfs and nadir.cfg in build/demo
	tools/demo.py $B/demo --engine $(or $(ENGINE),auto) --shell $(shell [ -t 0 ] && echo yes || echo no)
run: $(RUN) $(MANUAL) demo $(if $(filter vtx,$(ENGINE)),bochs) ## boot Debian's cloud kernel as a guest: a shell, or facts and power-off (ENGINE=vtx, bt or pv: by that)
	tools/nadir run $B/demo/nadir.cfg
image: all demo ## build/demo.img, a bootable disk image of the demo
	tools/nadir image $B/demo/nadir.cfg -o $B/demo.img
usb: image ## the same, and how to write it to a USB stick
	@echo "Write it with: sudo dd if=$B/demo.img of=/dev/sdX bs=4M conv=fsync"
gdb: ## the demo with gdb attached, stopped at Nadir's first instruction
	@$(MAKE) --no-print-directory DEV=1 all demo
	tools/gdb.sh $B/demo/nadir.cfg
bench: all bochs ## what each operation costs a guest under each engine, beside KVM
	tools/bench.py
engines: all bochs ## the engines side by side, and the bare machine: operations, Debian's demo, goals (minutes)
	tools/engines.py
bench-kvm: all bochs ## the same payload under QEMU + KVM in Bochs, for the column beside (minutes)
	tools/bench_kvm.py

# --- checking ---
check: $B/.deps ## everything: ends with one line, N passed, N failed
	@tools/check.py
check-entry: $B/check-entry.efi ## build/check-entry.efi: checks each VM entry, and each exit of bt (NADIR_EFI names it to tools/nadir)
check-nested: all bochs ## Nadir under QEMU + KVM inside Bochs (ten minutes)
	tools/check_nested.py
unit: $(UNIT) ## the unit tests, on this machine, with sanitizers
	@s=0; for t in $(UNIT); do $$t || s=1; done; exit $$s
mutants: $B/.deps ## what the unit tests do not notice (ten minutes; M=FILE... picks)
	/usr/bin/python3 tools/mutants.py $(M)
links = $(shell sed -n '1,20s,^// link: *,,p' $1)
libs = $(shell sed -n '1,20s,^// libs: *,,p' $1)
# What tests link is compiled once for all of them, and once more for those that have no address sanitizer.
define test_object
$B/$1/%.c.o: %.c | $B/.deps
	$$(call say,CC   )
	$$Q$2 $$(DEPS) -c $$< -o $$@
endef
$(eval $(call test_object,asan,gcc $(UNIT_CFLAGS)))
$(eval $(call test_object,ubsan,gcc $(UNIT_CFLAGS) -fno-sanitize=address))
$(eval $(call test_object,fuzzer,clang $(UNIT_CFLAGS) -fsanitize=fuzzer-no-link))
unit_objects = $(if $(filter -fno-sanitize=address,$(call libs,$1)),$B/ubsan,$B/asan)
objects = $(addprefix $2/,$(addsuffix .o,$1 $(call links,$1)))
$B/unit/%: $$(call objects,tests/unit/$$*.c,$$(call unit_objects,tests/unit/$$*.c))
	$(call say,UNIT )
	$Qgcc $(UNIT_CFLAGS) $(filter %.o,$^) -lcmocka $(call libs,tests/unit/$*.c) -o $@
fuzz: $(FUZZ) ## each fuzzer for 20 seconds (S=N: for N)
	@s=0; for f in $(FUZZ); do echo "$$f"; new=$$f.corpus; mkdir -p $$new; \
		$$f -max_total_time=$(or $(S),20) -timeout=60 -verbosity=0 -artifact_prefix=$B/fuzz/ $$new $$(ls -d tests/fuzz/corpus/$${f##*/fuzz_} 2>/dev/null) || s=1; done; exit $$s
$B/fuzz/%: $$(call objects,tests/fuzz/$$*.c,$B/fuzzer)
	$(call say,FUZZ )
	$Qclang $(UNIT_CFLAGS) -fsanitize=fuzzer $(filter %.o,$^) $(call libs,tests/fuzz/$*.c) -o $@
system: all bochs ## the system tests, in the emulator (T=-k NAME picks some)
	/usr/bin/python3 -m pytest -q tests/system $(T)
lint: $B/.deps ## format, clang-tidy, include rules, headers alone
	tools/lint.sh
format: ## lay out all C as .clang-format says
	clang-format -i $(shell find arch boot drivers guest mm vmx tests tools -name '*.[ch]')
clean: ## remove build/
	rm -rf $B
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

-include $(shell find $B -name '*.d' 2>/dev/null)

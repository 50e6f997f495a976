/* SPDX-License-Identifier: BSD-2-Clause */
/* The UEFI application: gathers what the hypervisor needs, leaves the firmware, enters it. */
#include "boot/efi_loader.h"

#include "arch/utf8.h"

#define READER_PATIENCE (300ull * 10000000) /* of 100 ns: five minutes */

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table);

bool loader_refuse(const CHAR16 *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    Print(L"nadir: error: ");
    VPrint(format, arguments);
    Print(L"\r\n");
    va_end(arguments);
    return false;
}

bool loader_config_error(struct loader *l, uint32_t line, const CHAR16 *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    Print(line != 0 ? L"nadir: error: nadir.cfg:%d: " : L"nadir: error: nadir.cfg: ", line);
    VPrint(format, arguments);
    Print(L"\r\n");
    va_end(arguments);
    l->config_error = true;
    return false;
}

bool loader_config_text(struct loader *l, uint32_t line, const char *text)
{
    CHAR16 wide[sizeof(((struct config_error *)NULL)->text)];
    size_t n = 0;
    while (*text != '\0' && n < sizeof(wide) / sizeof(wide[0]) - 1) {
        uint32_t c;
        const unsigned bytes = utf8_next(text, &c);
        wide[n++] = bytes != 0 && c <= UINT16_MAX ? (CHAR16)c : L'?';
        text += bytes != 0 ? bytes : 1;
    }
    wide[n] = L'\0';
    return loader_config_error(l, line, L"%s", wide);
}

void *loader_alloc(struct loader *l, uint64_t bytes, uint64_t highest)
{
    EFI_PHYSICAL_ADDRESS base = highest;
    uint64_t pages = EFI_SIZE_TO_PAGES(bytes);
    EFI_ALLOCATE_TYPE how = highest == LOADER_ANYWHERE ? AllocateAnyPages : AllocateMaxAddress;
    if (l->allocation_count == LOADER_MAX_ALLOCATIONS ||
        EFI_ERROR(BS->AllocatePages(how, EfiLoaderData, pages, &base)))
        return NULL;
    l->allocation[l->allocation_count].base = base;
    l->allocation[l->allocation_count++].pages = pages;
    BS->SetMem((void *)base, pages * EFI_PAGE_SIZE, 0); /* faster than GNU-EFI's, by the byte */
    return (void *)base;
}

/* Every file that the sections name. */
static bool sections_load(struct loader *l)
{
    struct config_files walk = {.config = &l->config}, again = walk;
    struct handoff *h = l->handoff;
    struct config_error error;
    while (config_next_file(&walk) != NULL)
        h->file_count++;
    struct handoff_file *list = loader_alloc(l, h->file_count * sizeof(*list), LOADER_ANYWHERE);
    if (list == NULL)
        return loader_refuse(L"out of memory");
    h->file_base = (uint64_t)list;
    for (uint32_t i = 0; i < h->file_count; i++) {
        struct loaded_file *file = config_next_file(&again);
        if (!files_load(l, again.what, file))
            return false;
        if (!config_check_size(&again, file, &error) ||
            !config_check_content(&again, file, (void *)file->base, &error))
            return loader_config_text(l, error.line, error.text);
        list[i] = (struct handoff_file){file->base, file->size};
    }
    return true;
}

static bool config_load(struct loader *l)
{
    struct loaded_file file = {.path = "nadir.cfg"};
    struct config_error error;
    l->handoff = loader_alloc(l, sizeof(*l->handoff), LOADER_ANYWHERE);
    if (l->handoff == NULL)
        return loader_refuse(L"out of memory");
    if (!files_open_directory(l) || !files_load(l, "configuration", &file))
        return false;
    const char *text = (const char *)file.base;
    void *memory = loader_alloc(l, config_memory(text, file.size), LOADER_ANYWHERE);
    if (memory == NULL)
        return loader_refuse(L"out of memory");
    if (!config_parse(text, file.size, memory, &l->config, &error))
        return loader_config_text(l, error.line, error.text);
    l->handoff->config_base = file.base;
    l->handoff->config_size = file.size;
    l->handoff->serial_port = l->config.serial_port;
    l->handoff->report_port = l->config.report_port;
    return sections_load(l);
}

static bool needs_vtx(const struct nadir_config *config)
{
    for (uint32_t i = 0; i < config->vm_count; i++)
        if (config->vm[i].engine == CONFIG_ENGINE_VTX)
            return true;
    return false;
}

static bool handoff_fill(struct loader *l)
{
    struct handoff *h = l->handoff;
    struct config_error error;
    h->reset_system = (uint64_t)RT->ResetSystem;
    h->epoch = machine_time();
    machine_find_acpi(h);
    machine_list_cpus(h);
    if (!cpus_check(h, needs_vtx(&l->config)))
        return false;
    if (!config_check_cpus(&l->config, h->cpu_count, &error))
        return loader_config_text(l, error.line, error.text);
    machine_find_framebuffer(h);
    if (h->framebuffer.size == 0 && !machine_has_serial(h->serial_port))
        return loader_refuse(L"no screen with a framebuffer, and no serial port at 0x%x (key "
                             L"\"serial\"): nobody would see the VMs",
                             h->serial_port);
    return true;
}

/* Until a key is pressed, or nobody has for a long time: then the firmware may have another idea.
 */
static void wait_for_reader(void)
{
    EFI_EVENT event[2];
    EFI_INPUT_KEY key;
    UINTN which;
    if (ST->ConIn == NULL || EFI_ERROR(BS->CreateEvent(EVT_TIMER, 0, NULL, NULL, &event[1])))
        return;
    while (ST->ConIn->ReadKeyStroke(ST->ConIn, &key) == EFI_SUCCESS) {} /* typed before */
    event[0] = ST->ConIn->WaitForKey;
    if (!EFI_ERROR(BS->SetTimer(event[1], TimerRelative, READER_PATIENCE)))
        BS->WaitForEvent(2, event, &which);
    BS->CloseEvent(event[1]);
    (void)ST->ConIn->ReadKeyStroke(ST->ConIn, &key);
}

static void loader_give_up(struct loader *l)
{
    files_close_directory(l);
    for (unsigned i = 0; i < l->allocation_count; i++)
        BS->FreePages(l->allocation[i].base, l->allocation[i].pages);
    Print(L"nadir: any key goes back to the firmware\r\n");
    Print(L"nadir-end: %a\r\n", l->config_error ? "config-error" : "refused");
    wait_for_reader();
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table)
{
    static struct loader l; /* too large for the stack of some firmware */
    l.image = image;
    InitializeLib(image, table);
    BS->SetWatchdogTimer(0, 0, 0, NULL); /* a big file on a slow stick may take its five minutes */
    if (ST->ConOut->Mode->CursorColumn != 0)
        Print(L"\r\n");
    Print(L"nadir: Nadir " NADIR_VERSION ", a hypervisor for Intel VT-x\r\n");
    if (config_load(&l) && handoff_fill(&l) && kernels_check(&l) && image_load(&l) &&
        image_map(&l)) {
        files_close_directory(&l);
        Print(L"nadir: leaving the firmware\r\n");
        if (memory_leave_firmware(&l))
            image_enter(&l);
    }
    loader_give_up(&l);
    return EFI_UNSUPPORTED;
}

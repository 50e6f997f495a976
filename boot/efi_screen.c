/* SPDX-License-Identifier: BSD-2-Clause */
/* Finds the screen that the user looks at, in a mode that the hypervisor can draw on. */
#include "boot/efi_loader.h"
#include "boot/efi_pixels.h"

/* EDK II puts this on the devices that its console goes to. */
static EFI_GUID console_device = {
    0xd3b36f2c, 0xd551, 0x11d4, {0x9a, 0x46, 0x00, 0x90, 0x27, 0x3f, 0xc1, 0x4d}};

static struct pixel_mode mode_of(const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *info)
{
    return (struct pixel_mode){
        .width = info->HorizontalResolution,
        .height = info->VerticalResolution,
        .per_line = info->PixelsPerScanLine,
        .format = info->PixelFormat,
        .red = info->PixelInformation.RedMask,
        .green = info->PixelInformation.GreenMask,
        .blue = info->PixelInformation.BlueMask,
        .reserved = info->PixelInformation.ReservedMask,
    };
}

static bool take_current(EFI_GRAPHICS_OUTPUT_PROTOCOL *g, struct handoff_framebuffer *out)
{
    if (g->Mode == NULL || g->Mode->Info == NULL)
        return false;
    const struct pixel_mode mode = mode_of(g->Mode->Info);
    return pixels_take(&mode, g->Mode->FrameBufferBase, g->Mode->FrameBufferSize, out);
}

/* The largest of the modes that have a framebuffer; the one that is set has none. */
static bool take_other(EFI_GRAPHICS_OUTPUT_PROTOCOL *g, struct handoff_framebuffer *out)
{
    uint64_t most = 0;
    uint32_t best = 0;
    for (uint32_t i = 0; g->Mode != NULL && i < g->Mode->MaxMode; i++) {
        EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *info = NULL;
        UINTN bytes = 0;
        if (EFI_ERROR(g->QueryMode(g, i, &bytes, &info)) || info == NULL)
            continue;
        const struct pixel_mode mode = mode_of(info);
        const uint64_t area = (uint64_t)mode.width * mode.height;
        if (pixels_are_linear(&mode) && area > most) {
            most = area;
            best = i;
        }
        BS->FreePool(info);
    }
    return most != 0 && !EFI_ERROR(g->SetMode(g, best)) && take_current(g, out);
}

static bool is_console(EFI_HANDLE handle)
{
    void *unused;
    return handle == ST->ConsoleOutHandle ||
           !EFI_ERROR(BS->HandleProtocol(handle, &console_device, &unused));
}

/* First the screens that the firmware's own text is on, then all; first as they are, then changed.
 * Not LocateProtocol: the first may be one that stands for several, and has no framebuffer. */
void machine_find_framebuffer(struct handoff *h)
{
    EFI_HANDLE *handles = NULL;
    UINTN count = 0;
    bool found = false;
    if (EFI_ERROR(
            BS->LocateHandleBuffer(ByProtocol, &GraphicsOutputProtocol, NULL, &count, &handles)))
        count = 0;
    for (unsigned attempt = 0; attempt < 4; attempt++)
        for (UINTN i = 0; i < count && !found; i++) {
            EFI_GRAPHICS_OUTPUT_PROTOCOL *g;
            if ((attempt % 2 == 0) == is_console(handles[i]) &&
                !EFI_ERROR(BS->HandleProtocol(handles[i], &GraphicsOutputProtocol, (void **)&g)))
                found =
                    attempt < 2 ? take_current(g, &h->framebuffer) : take_other(g, &h->framebuffer);
        }
    if (handles != NULL)
        BS->FreePool(handles);
    if (found)
        Print(L"nadir: framebuffer %dx%d at 0x%lx\r\n", h->framebuffer.width, h->framebuffer.height,
              h->framebuffer.base);
    else
        Print(L"nadir: no framebuffer\r\n");
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Files of the volume that the loader came from. */
#include "boot/efi_loader.h"

#define READ_CHUNK (8u << 20) /* some firmware fails at very large reads */

/* The directory of the loader's own file: its device path holds one or more pieces of a path (UEFI:
 * File Path Media Device Path), which need not be aligned. */
static void directory_find(CHAR16 *out, EFI_DEVICE_PATH_PROTOCOL *node)
{
    UINTN length = 0, cut = 0;
    for (; node != NULL && !IsDevicePathEnd(node); node = NextDevicePathNode(node)) {
        UINTN bytes = (UINTN)DevicePathNodeLength(node);
        if (bytes < sizeof(*node))
            break;
        if (DevicePathType(node) != MEDIA_DEVICE_PATH ||
            DevicePathSubType(node) != MEDIA_FILEPATH_DP)
            continue;
        if (length > 0 && out[length - 1] != L'\\' && length < LOADER_MAX_DIRECTORY - 1)
            out[length++] = L'\\';
        for (UINTN at = sizeof(*node); at + sizeof(CHAR16) <= bytes; at += sizeof(CHAR16)) {
            CHAR16 c;
            CopyMem(&c, (UINT8 *)node + at, sizeof(c));
            if (c == 0 || length == LOADER_MAX_DIRECTORY - 1)
                break;
            out[length++] = c;
        }
    }
    for (UINTN i = 0; i < length; i++)
        if (out[i] == L'\\')
            cut = i == 0 ? 1 : i; /* the root keeps its backslash */
    out[cut] = 0;
    if (cut == 0)
        CopyMem(out, L"\\EFI\\BOOT", sizeof(L"\\EFI\\BOOT"));
}

bool files_open_directory(struct loader *l)
{
    EFI_LOADED_IMAGE *self;
    EFI_FILE_IO_INTERFACE *volume;
    EFI_FILE_HANDLE root;
    if (EFI_ERROR(BS->HandleProtocol(l->image, &LoadedImageProtocol, (void **)&self)) ||
        EFI_ERROR(BS->HandleProtocol(self->DeviceHandle, &FileSystemProtocol, (void **)&volume)))
        return loader_refuse(L"this program was not loaded from a file system");
    EFI_STATUS status = volume->OpenVolume(volume, &root);
    if (EFI_ERROR(status))
        return loader_refuse(L"the boot volume does not open: %r", status);
    directory_find(l->directory_name, self->FilePath);
    status = root->Open(root, &l->directory, l->directory_name, EFI_FILE_MODE_READ, 0);
    root->Close(root);
    if (EFI_ERROR(status))
        l->directory = NULL;
    if (l->directory == NULL)
        return loader_refuse(L"the directory %s does not open: %r", l->directory_name, status);
    return true;
}

void files_close_directory(struct loader *l)
{
    if (l->directory != NULL)
        l->directory->Close(l->directory);
    l->directory = NULL;
}

static EFI_STATUS file_read(EFI_FILE_HANDLE handle, const struct loaded_file *file)
{
    for (uint64_t done = 0; done < file->size;) {
        uint64_t left = file->size - done;
        UINTN chunk = left < READ_CHUNK ? left : READ_CHUNK;
        EFI_STATUS status = handle->Read(handle, &chunk, (void *)(file->base + done));
        if (EFI_ERROR(status))
            return status;
        if (chunk == 0)
            return EFI_END_OF_FILE;
        done += chunk;
    }
    return EFI_SUCCESS;
}

static bool file_load_opened(struct loader *l, EFI_FILE_HANDLE handle, const char *what,
                             struct loaded_file *file)
{
    EFI_STATUS status = handle->SetPosition(handle, UINT64_MAX); /* the end, says UEFI */
    /* For a directory, the position cannot be set. */
    if (EFI_ERROR(status) || EFI_ERROR(handle->GetPosition(handle, &file->size)))
        return loader_config_error(l, file->line, L"%a is a directory", file->path);
    if (file->size == 0)
        return loader_config_error(l, file->line, L"%a is empty", file->path);
    Print(L"nadir: %a %a, %ld KiB\r\n", what, file->path, (file->size + 1023) / 1024);
    file->base = (uint64_t)loader_alloc(l, file->size, LOADER_ANYWHERE);
    if (file->base == 0)
        return loader_refuse(L"no memory for %a", file->path);
    status = handle->SetPosition(handle, 0);
    if (!EFI_ERROR(status))
        status = file_read(handle, file);
    if (EFI_ERROR(status))
        return loader_config_error(l, file->line, L"%a cannot be read: %r", file->path, status);
    return true;
}

/* Says where it was looked for: the directory may be the root, and the path may start there. */
static bool not_found(struct loader *l, const struct loaded_file *file, const CHAR16 *path)
{
    const bool from_root = path[0] == L'\\';
    const CHAR16 *directory = from_root || l->directory_name[1] == 0 ? L"" : l->directory_name;
    return loader_config_error(l, file->line, L"there is no file %a; looked for %s%s%s", file->path,
                               directory, from_root ? L"" : L"\\", path);
}

bool files_load(struct loader *l, const char *what, struct loaded_file *file)
{
    CHAR16 path[CONFIG_MAX_PATH];
    EFI_FILE_HANDLE handle;
    UINTN i;
    const char *name = config_file_name(file);
    for (i = 0; name[i] != '\0' && i < CONFIG_MAX_PATH - 1; i++) {
        if (name[i] < ' ' || name[i] > '~')
            return loader_config_error(l, file->line, L"%a: only ASCII file names are supported",
                                       file->path);
        path[i] = name[i] == '/' ? L'\\' : (CHAR16)name[i];
    }
    path[i] = 0;
    EFI_STATUS status = l->directory->Open(l->directory, &handle, path, EFI_FILE_MODE_READ, 0);
    if (status == EFI_NOT_FOUND)
        return not_found(l, file, path);
    if (EFI_ERROR(status))
        return loader_config_error(l, file->line, L"%a does not open: %r", file->path, status);
    bool ok = file_load_opened(l, handle, what, file);
    handle->Close(handle);
    return ok;
}

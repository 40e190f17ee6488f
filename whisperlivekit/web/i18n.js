/**
 * Every text of the recording page and of the key form, in Russian and English.
 *
 * `error.X` says what happened and `error.X.help` what to do about it. X is a code of the server's errors, or a code that the page
 * itself uses. `{name}` is replaced by a parameter.
 */

/** @typedef {"ru" | "en"} Language */

/** @type {Record<Language, Record<string, string>>} */
export const TEXTS = {
  ru: {
    "page.title": "Речь в текст",
    "page.recording": "● Запись",
    "page.language": "Язык страницы",
    "page.skip": "К тексту",
    "option.source": "Источник звука",
    "option.default": "Микрофон по умолчанию",
    "option.microphone": "Микрофон {number}",
    "option.tab": "Звук вкладки или экрана…",
    "option.tab.stereo": "Вкладка, стерео: два говорящих…",
    "option.language": "Язык речи",
    "option.auto": "Автоматически",
    "option.common": "Популярные языки",
    "option.all": "Остальные языки",
    "option.suppression": "Шумоподавление",
    "option.suppression.help":
      "Включайте в шумном помещении или когда звук идёт из колонок. В тишине лучше выключить: шумоподавление срезает тихие окончания слов.",
    "button.start": "Начать",
    "button.continue": "Продолжить",
    "button.wait": "Подождите…",
    "button.stop": "Остановить",
    "button.abandon": "Прервать",
    "button.copy": "Копировать",
    "button.copied": "Скопировано",
    "button.save": "Скачать",
    "button.save.as": "Скачать как {format}",
    "button.clear": "Очистить",
    "button.clear.confirm": "Удалить весь текст?",
    "button.retry": "Подключиться сейчас",
    "button.close": "Закрыть сообщение",
    "button.end": "К новому тексту",
    "key.open": "Ключ доступа",
    "key.label": "Ключ доступа",
    "key.remember": "Запомнить на этом устройстве",
    "key.save": "Сохранить ключ",
    "key.forget": "Удалить ключ",
    "key.invalid": "В ключе могут быть только латинские буквы, цифры и знаки, без пробелов.",
    "text.label": "Расшифровка",
    "text.empty": "Здесь появится текст",
    "text.empty.help": "Нажмите «Начать» и говорите. Серый текст ещё может измениться, чёрный уже окончательный.",
    "text.empty.help.dark": "Нажмите «Начать» и говорите. Серый текст ещё может измениться, белый уже окончательный.",
    "text.gap": "[пропуск {seconds} с: {reason}]",
    "gap.decode_failed": "сбой распознавания",
    "gap.resume_lost": "звук потерян при обрыве связи",
    "gap.unknown": "звук не распознан",
    "state.idle": "Готово к записи",
    "state.asking": "Жду доступа к звуку…",
    "state.connecting": "Подключаюсь…",
    "state.listening": "Слушаю",
    "state.speaking": "Слышу речь",
    "state.paused": "Система приостановила звук",
    "state.reconnecting": "Связь потеряна, подключаюсь снова…",
    "state.retrying": "Нет связи, запись идёт",
    "state.loading": "Модель загружается…",
    "state.full": "Сервер занят, жду места…",
    "state.stopping": "Распознаю последние слова…",
    "state.done": "Запись закончена",
    "state.failed": "Запись прервана",
    "state.lag": "отставание {seconds} с",
    "state.recorded": "Записано",
    "level.label": "Громкость",
    "notice.retry": "Следующая попытка через {seconds} с. Запись продолжается: последние 10 минут звука не пропадут.",
    "notice.kept": "Ещё не отправлено: {seconds} с звука.",
    "notice.report": "Код: {code}",
    "notice.session": "сеанс {session}",
    "error.unknown": "Что-то пошло не так",
    "error.unknown.help": "Обновите страницу и начните запись снова. Если ошибка повторится, сообщите её код администратору.",
    "error.not_secure": "Микрофон недоступен: страница открыта не по https",
    "error.not_secure.help":
      "Браузеры разрешают микрофон только на страницах https:// и http://localhost. Откройте страницу по такому адресу или попросите администратора включить https.",
    "error.old_browser": "Этот браузер слишком старый",
    "error.old_browser.help": "Нужен Chrome или Edge 89, Firefox 76, Safari 15 или более новый.",
    "error.microphone_denied": "Нет разрешения на микрофон",
    "error.microphone_denied.help":
      "Нажмите на значок слева от адреса страницы, разрешите микрофон и начните запись снова. Если не помогло, проверьте настройки системы: доступ браузера к микрофону может быть закрыт и там.",
    "error.no_microphone": "Микрофон не найден",
    "error.no_microphone.help": "Подключите микрофон или гарнитуру либо выберите другой источник звука и начните запись снова.",
    "error.microphone_busy": "Микрофон занят",
    "error.microphone_busy.help": "Закройте программу, которая его использует (звонок, диктофон), и начните запись снова.",
    "error.microphone_failed": "Не удалось включить звук",
    "error.microphone_failed.help": "Попробуйте ещё раз или выберите другой источник звука.",
    "error.page_incomplete": "Сервер не отвечает: страница загрузилась не полностью",
    "error.page_incomplete.help": "Проверьте сеть и начните запись снова. Если сервер выключен, дождитесь его запуска.",
    "error.microphone_lost": "Микрофон отключился",
    "error.microphone_lost.help": "Всё записанное до этого распознаётся. Подключите микрофон и начните запись снова.",
    "error.tab_ended": "Вкладка больше не передаёт звук",
    "error.tab_ended.help": "Всё записанное до этого распознаётся. Чтобы продолжить, начните запись снова и выберите вкладку.",
    "error.tab_denied": "Вкладка не выбрана",
    "error.tab_denied.help": "Начните запись снова и выберите вкладку или экран, звук которых нужно записать.",
    "error.no_tab_audio": "Вкладка передаёт изображение без звука",
    "error.no_tab_audio.help":
      "При выборе вкладки включите передачу звука. Chrome и Edge это умеют; Firefox и Safari звук вкладки не передают.",
    "error.silent_microphone": "Микрофон включён, но звука нет",
    "error.silent_microphone.help": "Проверьте, не выключен ли микрофон на гарнитуре или в системе и тот ли источник звука выбран.",
    "error.connection_lost": "Связь с сервером потеряна",
    "error.connection_lost.help": "Проверьте сеть. Страница подключится сама и продолжит с того же места.",
    "error.no_answer": "Сервер не отвечает",
    "error.no_answer.help": "Страница подключится сама и продолжит с того же места.",
    "error.no_server": "Сервер недоступен",
    "error.no_server.help": "Возможно, он выключен или нет сети. Страница продолжает попытки подключиться.",
    "error.not_admitted": "Сервер работает, но не принимает соединение",
    "error.not_admitted.help":
      "Обычно мешает прокси-сервер: он должен пропускать WebSocket на адрес /ws. Сообщите об этом администратору. Страница продолжает попытки подключиться.",
    "error.model_loading": "Сервер запускается: модель загружается",
    "error.model_loading.help": "Обычно это занимает меньше минуты. Распознавание начнётся само, как только сервер будет готов.",
    "error.bad_server": "Непонятный ответ сервера",
    "error.bad_server.help": "Вероятно, у сервера и страницы разные версии. Обновите страницу (Ctrl+F5).",
    "error.forbidden": "Сервер отказал в доступе",
    "error.forbidden.help": "Попросите администратора разрешить доступ с этого адреса страницы.",
    "error.copy_failed": "Не удалось скопировать",
    "error.copy_failed.help": "Браузер не дал доступа к буферу обмена. Скачайте текст или выделите его и скопируйте вручную.",
    "error.internal_error": "Ошибка на сервере",
    "error.internal_error.help": "Начните запись снова. Если ошибка повторится, сообщите её код администратору.",
    "error.bad_request": "Сервер не принял запрос",
    "error.bad_request.help": "Обновите страницу (Ctrl+F5) и начните запись снова.",
    "error.bad_message": "Сервер не понял запрос страницы",
    "error.bad_message.help": "Вероятно, страница устарела. Обновите её (Ctrl+F5) и начните запись снова.",
    "error.bad_audio": "Сервер не смог прочитать звук",
    "error.bad_audio.help": "Обновите страницу (Ctrl+F5) и начните запись снова. Если ошибка повторится, сообщите её код администратору.",
    "error.unsupported_format": "Сервер не поддерживает выбранные настройки",
    "error.unsupported_format.help": "Выберите другой язык речи и начните запись снова. Если не помогло, обновите страницу.",
    "error.message_too_big": "Сервер отклонил слишком большой фрагмент звука",
    "error.message_too_big.help": "Начните запись снова. Если ошибка повторится, обновите страницу.",
    "error.unauthorized": "Нужен ключ доступа",
    "error.unauthorized.help": "Введите ключ, который вам дал администратор, или откройте страницу по ссылке с ключом.",
    "error.wrong_key": "Ключ доступа не подошёл",
    "error.wrong_key.help": "Проверьте, нет ли опечатки, и введите ключ снова. Если не помогло, попросите у администратора новый.",
    "error.key_saved": "Ключ доступа",
    "error.key_saved.help":
      "Сохранённый ключ можно заменить или удалить. Если не отметить «Запомнить на этом устройстве», он хранится до закрытия вкладки.",
    "error.forbidden_origin": "Этой странице не разрешено подключаться к серверу",
    "error.forbidden_origin.help":
      "Откройте страницу по основному адресу сервера или попросите администратора добавить этот адрес в WLK_ALLOWED_ORIGINS.",
    "error.unknown_host": "Сервер не отвечает по этому адресу",
    "error.unknown_host.help":
      "Откройте страницу по основному адресу сервера или попросите администратора добавить это имя в WLK_ALLOWED_HOSTS.",
    "error.timed_out": "Сервер завершил сеанс",
    "error.timed_out.help": "От страницы долго не было звука, или запись длилась дольше, чем разрешено. Начните запись снова.",
    "error.server_full": "Сервер занят",
    "error.server_full.help":
      "Он уже распознаёт столько потоков, сколько может. Страница подключится сама, как только освободится место.",
    "error.shutting_down": "Сервер перезапускается",
    "error.shutting_down.help": "Страница подключится сама и продолжит с того же места.",
    "error.decode_failed": "Сбой распознавания",
    "error.decode_failed.help": "Начните запись снова. Если ошибка повторится, сообщите её код администратору.",
    "error.model_unavailable": "Модель распознавания недоступна",
    "error.model_unavailable.help": "Сообщите администратору: сервер нужно проверить командой bash install.sh doctor.",
    "error.cannot_start": "Сервер не может запуститься",
    "error.cannot_start.help": "Сообщите администратору: причина указана в журнале сервера.",
    "error.bad_settings": "Ошибка в настройках сервера",
    "error.bad_settings.help": "Сообщите администратору: файл .env нужно проверить командой bash install.sh doctor.",
    "error.bad_model_file": "Файл модели отсутствует или повреждён",
    "error.bad_model_file.help": "Сообщите администратору: модель нужно скачать командой venv/bin/whisperlivekit models fetch.",
  },
  en: {
    "page.title": "Speech to text",
    "page.recording": "● Recording",
    "page.language": "Language of this page",
    "page.skip": "Skip to the text",
    "option.source": "Audio source",
    "option.default": "Default microphone",
    "option.microphone": "Microphone {number}",
    "option.tab": "A tab or the screen…",
    "option.tab.stereo": "Tab, stereo: two speakers…",
    "option.language": "Spoken language",
    "option.auto": "Detect",
    "option.common": "Common languages",
    "option.all": "Other languages",
    "option.suppression": "Noise suppression",
    "option.suppression.help":
      "Turn it on in a noisy room or for sound from loudspeakers. In a quiet room leave it off: it cuts the quiet ends of words.",
    "button.start": "Start",
    "button.continue": "Continue",
    "button.wait": "Please wait…",
    "button.stop": "Stop",
    "button.abandon": "Give up",
    "button.copy": "Copy",
    "button.copied": "Copied",
    "button.save": "Download",
    "button.save.as": "Download as {format}",
    "button.clear": "Clear",
    "button.clear.confirm": "Delete the whole text?",
    "button.retry": "Connect now",
    "button.close": "Close this message",
    "button.end": "To the newest text",
    "key.open": "Access key",
    "key.label": "Access key",
    "key.remember": "Remember on this device",
    "key.save": "Save key",
    "key.forget": "Delete key",
    "key.invalid": "A key has Latin letters, digits and punctuation only, and no spaces.",
    "text.label": "Transcript",
    "text.empty": "The text will appear here",
    "text.empty.help": "Press Start and speak. Grey text may still change, black text is final.",
    "text.empty.help.dark": "Press Start and speak. Grey text may still change, white text is final.",
    "text.gap": "[{seconds} s missing: {reason}]",
    "gap.decode_failed": "recognition failed",
    "gap.resume_lost": "audio lost during an outage",
    "gap.unknown": "not recognised",
    "state.idle": "Ready",
    "state.asking": "Waiting for permission…",
    "state.connecting": "Connecting…",
    "state.listening": "Listening",
    "state.speaking": "Hearing speech",
    "state.paused": "The system has paused the sound",
    "state.reconnecting": "Connection lost, reconnecting…",
    "state.retrying": "No connection, still recording",
    "state.loading": "The model is loading…",
    "state.full": "The server is full, waiting for a place…",
    "state.stopping": "Recognising the last words…",
    "state.done": "Recording finished",
    "state.failed": "Recording interrupted",
    "state.lag": "{seconds} s behind",
    "state.recorded": "Recorded",
    "level.label": "Loudness",
    "notice.retry": "Next attempt in {seconds} s. Recording continues: the last 10 minutes of audio are kept.",
    "notice.kept": "{seconds} s of audio not sent yet.",
    "notice.report": "Code: {code}",
    "notice.session": "session {session}",
    "error.unknown": "Something went wrong",
    "error.unknown.help": "Reload the page and start again. If it happens again, tell the administrator the code.",
    "error.not_secure": "No microphone: the page was not opened over https",
    "error.not_secure.help":
      "Browsers allow the microphone only on https:// pages and on http://localhost. Open such an address, or ask the administrator to turn on https.",
    "error.old_browser": "This browser is too old",
    "error.old_browser.help": "The page needs Chrome or Edge 89, Firefox 76, Safari 15, or later.",
    "error.microphone_denied": "The microphone was not allowed",
    "error.microphone_denied.help":
      "Click the icon left of the page's address, allow the microphone and start again. If that does not help, look at the system's settings: they can block the browser's microphone too.",
    "error.no_microphone": "No microphone found",
    "error.no_microphone.help": "Connect a microphone or a headset, or choose another source, then start again.",
    "error.microphone_busy": "The microphone is in use",
    "error.microphone_busy.help": "Close the program that uses it (a call, a recorder) and start again.",
    "error.microphone_failed": "The sound could not be started",
    "error.microphone_failed.help": "Try again or choose another source.",
    "error.page_incomplete": "The server does not answer: the page is not fully loaded",
    "error.page_incomplete.help": "Check your network and start again. If the server is off, wait until it runs.",
    "error.microphone_lost": "The microphone was disconnected",
    "error.microphone_lost.help": "Everything recorded before is transcribed. Connect the microphone and start again.",
    "error.tab_ended": "The tab no longer shares its sound",
    "error.tab_ended.help": "Everything recorded before is transcribed. To go on, start again and choose the tab.",
    "error.tab_denied": "No tab was chosen",
    "error.tab_denied.help": "Start again and choose the tab or screen whose sound you need.",
    "error.no_tab_audio": "The tab shares its picture without sound",
    "error.no_tab_audio.help":
      "Turn on audio sharing when you choose the tab. Chrome and Edge can do that; Firefox and Safari do not share a tab's sound.",
    "error.silent_microphone": "The microphone is on, but silent",
    "error.silent_microphone.help": "Check that it is not muted on the headset or in the system, and that the right source is chosen.",
    "error.connection_lost": "The connection to the server was lost",
    "error.connection_lost.help": "Check your network. The page reconnects by itself and continues where it was.",
    "error.no_answer": "The server does not answer",
    "error.no_answer.help": "The page reconnects by itself and continues where it was.",
    "error.no_server": "The server cannot be reached",
    "error.no_server.help": "It may be off, or there is no network. The page keeps trying to connect.",
    "error.not_admitted": "The server runs, but does not accept the connection",
    "error.not_admitted.help":
      "Most often a proxy is in the way: it must pass WebSockets to /ws. Tell the administrator. The page keeps trying to connect.",
    "error.model_loading": "The server is starting: its model is loading",
    "error.model_loading.help": "This usually takes less than a minute. Recognition begins by itself when the server is ready.",
    "error.bad_server": "The page does not understand the server's answer",
    "error.bad_server.help": "The server and the page probably have different versions. Reload the page (Ctrl+F5).",
    "error.forbidden": "The server refused access",
    "error.forbidden.help": "Ask the administrator to allow this page's address.",
    "error.copy_failed": "Copying failed",
    "error.copy_failed.help": "The browser did not give access to the clipboard. Download the text, or select and copy it yourself.",
    "error.internal_error": "An error on the server",
    "error.internal_error.help": "Start again. If it happens again, tell the administrator the code.",
    "error.bad_request": "The server did not accept the request",
    "error.bad_request.help": "Reload the page (Ctrl+F5) and start again.",
    "error.bad_message": "The server did not understand this page",
    "error.bad_message.help": "The page is probably out of date. Reload it (Ctrl+F5) and start again.",
    "error.bad_audio": "The server could not read the audio",
    "error.bad_audio.help": "Reload the page (Ctrl+F5) and start again. If it happens again, tell the administrator the code.",
    "error.unsupported_format": "The server does not support these settings",
    "error.unsupported_format.help": "Choose another spoken language and start again. If that does not help, reload the page.",
    "error.message_too_big": "The server rejected a piece of audio as too big",
    "error.message_too_big.help": "Start again. If it happens again, reload the page.",
    "error.unauthorized": "An access key is needed",
    "error.unauthorized.help": "Enter the key that the administrator gave you, or open the page by the link that contains the key.",
    "error.wrong_key": "The access key was not accepted",
    "error.wrong_key.help": "Check it for typing errors and enter it again. If that does not help, ask the administrator for a new one.",
    "error.key_saved": "Access key",
    "error.key_saved.help":
      "You can replace or delete the saved key. Without “Remember on this device” it is kept until the tab is closed.",
    "error.forbidden_origin": "This page may not connect to the server",
    "error.forbidden_origin.help":
      "Open the page at the server's main address, or ask the administrator to add this one to WLK_ALLOWED_ORIGINS.",
    "error.unknown_host": "The server does not answer at this address",
    "error.unknown_host.help":
      "Open the page at the server's main address, or ask the administrator to add this name to WLK_ALLOWED_HOSTS.",
    "error.timed_out": "The server ended the session",
    "error.timed_out.help": "There was no sound from the page for a long time, or the recording was longer than allowed. Start again.",
    "error.server_full": "The server is full",
    "error.server_full.help": "It has as many streams as it can recognise. The page connects by itself when a place is free.",
    "error.shutting_down": "The server is restarting",
    "error.shutting_down.help": "The page reconnects by itself and continues where it was.",
    "error.decode_failed": "Recognition failed",
    "error.decode_failed.help": "Start again. If it happens again, tell the administrator the code.",
    "error.model_unavailable": "The speech model is not available",
    "error.model_unavailable.help": "Tell the administrator to check the server with: bash install.sh doctor.",
    "error.cannot_start": "The server cannot start",
    "error.cannot_start.help": "Tell the administrator: the reason is in the server's log.",
    "error.bad_settings": "The server's settings have an error",
    "error.bad_settings.help": "Tell the administrator to check .env with: bash install.sh doctor.",
    "error.bad_model_file": "A model file is missing or broken",
    "error.bad_model_file.help": "Tell the administrator to get the model with: venv/bin/whisperlivekit models fetch.",
  },
};

/** Codes of the languages that Whisper knows. `Intl` gives their names. */
export const SPEECH_LANGUAGES = Object.freeze(
  (
    "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id is it ja jw ka " +
    "kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw " +
    "ta te tg th tk tl tr tt uk ur uz vi yi yo zh"
  ).split(" "),
);

/** The languages at the top of the list. */
export const COMMON_LANGUAGES = Object.freeze(["ru", "en", "uk", "kk", "de", "fr", "es"]);

export class Translator {
  /** @param {Language} language */
  constructor(language) {
    /** @type {Language} */
    this.language = language;
  }

  /**
   * @param {string} key
   * @param {Record<string, string | number>} [values]
   * @returns {string}
   */
  text(key, values = {}) {
    const text = TEXTS[this.language][key];
    if (text === undefined) throw new RangeError(`no text for ${key}`);
    return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
  }

  /**
   * @param {string} code of an error or a cause
   * @returns {{title: string, help: string}} a general text for an unknown code
   */
  error(code) {
    const known = `error.${code}` in TEXTS[this.language] && `error.${code}.help` in TEXTS[this.language] ? code : "unknown";
    return { title: this.text(`error.${known}`), help: this.text(`error.${known}.help`) };
  }

  /**
   * @param {{start: number, end: number, reason: string}} gap
   * @returns {string}
   */
  gap({ start, end, reason }) {
    const known = `gap.${reason}` in TEXTS[this.language] ? reason : "unknown";
    return this.text("text.gap", { seconds: this.number(end - start), reason: this.text(`gap.${known}`) });
  }

  /**
   * @param {number} value
   * @returns {string} with one digit after the point
   */
  number(value) {
    return value.toLocaleString(this.language, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
  }

  /**
   * @param {string} code of a spoken language
   * @returns {string} its name, with a capital
   */
  languageName(code) {
    // Whisper's own code for Javanese.
    const name = new Intl.DisplayNames([this.language], { type: "language" }).of(code === "jw" ? "jv" : code) ?? code;
    return name.charAt(0).toLocaleUpperCase(this.language) + name.slice(1);
  }
}

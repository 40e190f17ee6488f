/**
 * Every text of the page, in Russian and English.
 *
 * A key `error.X` says what happened and `error.X.help` what to do about it; X is a code of the server's errors, or a cause
 * that the page found itself. `{name}` is replaced by a parameter.
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
    "option.language": "Язык речи",
    "option.auto": "Определять самому",
    "option.common": "Чаще всего",
    "option.all": "Все языки",
    "option.suppression": "Шумоподавление",
    "option.suppression.help":
      "Для шумной комнаты или звука из колонок. В тишине без него точнее: подавление шума съедает тихие окончания слов.",
    "button.start": "Начать",
    "button.continue": "Продолжить",
    "button.stop": "Остановить",
    "button.abandon": "Прервать",
    "button.copy": "Копировать",
    "button.copied": "Скопировано",
    "button.save": "Скачать",
    "button.save.as": "Скачать как {format}",
    "button.clear": "Очистить",
    "button.clear.confirm": "Удалить весь текст?",
    "button.retry": "Повторить сейчас",
    "button.close": "Закрыть сообщение",
    "button.end": "К новому тексту",
    "text.label": "Расшифровка",
    "text.empty": "Здесь появится текст",
    "text.empty.help":
      "Нажмите «Начать» и говорите. Серые слова ещё могут измениться, чёрные уже окончательные.",
    "text.empty.help.dark":
      "Нажмите «Начать» и говорите. Серые слова ещё могут измениться, белые уже окончательные.",
    "text.gap": "[пропуск {seconds} с: {reason}]",
    "gap.decode_failed": "сбой распознавания",
    "gap.resume_lost": "звук потерян при обрыве связи",
    "gap.unknown": "звук не распознан",
    "state.idle": "Готово к записи",
    "state.starting": "Жду разрешения на звук…",
    "state.connecting": "Подключаюсь…",
    "state.listening": "Слушаю",
    "state.speaking": "Слышу речь",
    "state.paused": "Звук приостановлен системой",
    "state.reconnecting": "Связь потеряна, подключаюсь снова…",
    "state.retrying": "Нет связи, запись идёт",
    "state.loading": "Модель загружается…",
    "state.full": "Сервер занят, жду места…",
    "state.finishing": "Дописываю последние слова…",
    "state.done": "Запись закончена",
    "state.failed": "Запись прервана",
    "state.lag": "отставание {seconds} с",
    "state.recorded": "Записано",
    "level.label": "Громкость",
    "notice.retry": "Следующая попытка через {seconds} с. Запись продолжается: сказанное не пропадёт.",
    "notice.kept": "Не отправлено {seconds} с звука.",
    "notice.report": "Код: {code}",
    "notice.session": "сеанс {session}",
    "error.unknown": "Что-то пошло не так",
    "error.unknown.help": "Обновите страницу и начните снова. Если повторится, сообщите код администратору.",
    "error.not_secure": "Микрофон здесь недоступен: страница открыта не по https",
    "error.not_secure.help":
      "Браузеры дают микрофон только страницам https:// и http://localhost. Откройте страницу по такому адресу или попросите администратора включить https.",
    "error.old_browser": "Этот браузер слишком старый",
    "error.old_browser.help": "Нужны Chrome или Edge 89, Firefox 76, Safari 15 или новее.",
    "error.microphone_denied": "Нет разрешения на микрофон",
    "error.microphone_denied.help":
      "Нажмите на значок слева от адреса страницы, разрешите микрофон и нажмите «Начать» ещё раз. Проверьте и системные настройки: там доступ браузера к микрофону тоже может быть закрыт.",
    "error.no_microphone": "Микрофон не найден",
    "error.no_microphone.help": "Подключите микрофон или гарнитуру либо выберите другой источник звука, затем нажмите «Начать».",
    "error.microphone_busy": "Микрофон занят",
    "error.microphone_busy.help": "Закройте программу, которая им пользуется (звонок, запись), и нажмите «Начать» ещё раз.",
    "error.microphone_failed": "Не удалось включить звук",
    "error.microphone_failed.help": "Попробуйте ещё раз или выберите другой источник звука.",
    "error.page_incomplete": "Сервер не отвечает: часть страницы не загрузилась",
    "error.page_incomplete.help": "Проверьте сеть и нажмите «Начать» ещё раз. Если сервер выключен, дождитесь его запуска.",
    "error.microphone_lost": "Микрофон отключился",
    "error.microphone_lost.help": "Записанное распознано. Подключите микрофон и нажмите «Продолжить».",
    "error.tab_ended": "Показ вкладки закончен",
    "error.tab_ended.help": "Записанное распознано. Чтобы продолжить, нажмите «Продолжить» и выберите вкладку снова.",
    "error.tab_denied": "Вкладка не выбрана",
    "error.tab_denied.help": "Нажмите «Начать» и выберите вкладку или экран, звук которых нужно записать.",
    "error.no_tab_audio": "Без звука: вкладка отдала только картинку",
    "error.no_tab_audio.help":
      "При выборе вкладки включите «Также поделиться звуком». Это умеют Chrome и Edge; Firefox и Safari звук вкладки не отдают.",
    "error.silent_microphone": "Микрофон включён, но звука нет",
    "error.silent_microphone.help": "Проверьте, не выключен ли микрофон кнопкой на гарнитуре или в системе, и тот ли источник выбран.",
    "error.connection_lost": "Связь с сервером потеряна",
    "error.connection_lost.help": "Проверьте сеть. Страница подключится сама и продолжит с того же места.",
    "error.no_answer": "Сервер не отвечает",
    "error.no_answer.help": "Страница подключится сама и продолжит с того же места.",
    "error.no_server": "Сервер не найден",
    "error.no_server.help": "Возможно, он выключен или нет сети. Страница продолжит попытки сама.",
    "error.not_admitted": "Сервер работает, но не принимает соединение",
    "error.not_admitted.help":
      "Обычно так мешает промежуточный прокси: он должен пропускать WebSocket на адрес /ws. Страница продолжит попытки.",
    "error.model_loading": "Сервер запускается: модель загружается",
    "error.model_loading.help": "Это занимает до минуты. Страница начнёт сама, как только он будет готов.",
    "error.bad_server": "Сервер отвечает непонятно",
    "error.bad_server.help": "Видимо, его версия не подходит к этой странице. Обновите страницу (Ctrl+F5).",
    "error.forbidden": "Сервер отказал в доступе",
    "error.forbidden.help": "Попросите администратора открыть доступ для этого адреса страницы.",
    "error.copy_failed": "Не удалось скопировать",
    "error.copy_failed.help": "Браузер не дал доступа к буферу обмена. Скачайте текст или выделите его и скопируйте сами.",
    "error.internal_error": "Ошибка на сервере",
    "error.internal_error.help": "Нажмите «Продолжить». Если повторится, сообщите код администратору.",
    "error.bad_request": "Сервер не принял запрос",
    "error.bad_request.help": "Обновите страницу (Ctrl+F5) и начните снова.",
    "error.bad_message": "Сервер не понял эту страницу",
    "error.bad_message.help": "Видимо, страница устарела. Обновите её (Ctrl+F5) и начните снова.",
    "error.bad_audio": "Сервер не смог прочитать звук",
    "error.bad_audio.help": "Обновите страницу (Ctrl+F5) и начните снова. Если повторится, сообщите код администратору.",
    "error.unsupported_format": "Сервер не поддерживает выбранные настройки",
    "error.unsupported_format.help": "Выберите другой язык речи и начните снова. Если не поможет, обновите страницу.",
    "error.message_too_big": "Сервер отклонил слишком большой кусок звука",
    "error.message_too_big.help": "Нажмите «Продолжить». Если повторится, обновите страницу.",
    "error.unauthorized": "Нужен ключ доступа",
    "error.unauthorized.help": "Сервер пускает только по ключу. Откройте страницу по ссылке с ключом, которую дал администратор.",
    "error.forbidden_origin": "Серверу не разрешено отвечать этой странице",
    "error.forbidden_origin.help": "Откройте страницу по основному адресу сервера или попросите администратора разрешить этот.",
    "error.timed_out": "Сервер закрыл простаивающее соединение",
    "error.timed_out.help": "От страницы долго не было звука. Нажмите «Продолжить».",
    "error.server_full": "Сервер занят: все места заняты",
    "error.server_full.help": "Страница начнёт сама, как только освободится место.",
    "error.shutting_down": "Сервер перезапускается",
    "error.shutting_down.help": "Страница подключится сама и продолжит с того же места.",
    "error.decode_failed": "Сбой распознавания",
    "error.decode_failed.help": "Нажмите «Продолжить». Если повторится, сообщите код администратору.",
    "error.model_unavailable": "Модель распознавания недоступна",
    "error.model_unavailable.help": "Администратору нужно проверить сервер командой whisperlivekit check.",
    "error.cannot_start": "Сервер не может запуститься",
    "error.cannot_start.help": "Администратору нужно посмотреть журнал сервера.",
    "error.bad_settings": "В настройках сервера ошибка",
    "error.bad_settings.help": "Администратору нужно проверить .env командой whisperlivekit check.",
    "error.bad_model_file": "Файл модели отсутствует или повреждён",
    "error.bad_model_file.help": "Администратору нужно выполнить whisperlivekit models fetch.",
  },
  en: {
    "page.title": "Speech to text",
    "page.recording": "● Recording",
    "page.language": "Language of this page",
    "page.skip": "Skip to the text",
    "option.source": "Sound from",
    "option.default": "Default microphone",
    "option.microphone": "Microphone {number}",
    "option.tab": "A tab or the screen…",
    "option.language": "Spoken language",
    "option.auto": "Detect it",
    "option.common": "Common",
    "option.all": "All languages",
    "option.suppression": "Noise suppression",
    "option.suppression.help":
      "For a noisy room or loudspeakers. In a quiet one the text is better without it: it swallows the quiet ends of words.",
    "button.start": "Start",
    "button.continue": "Continue",
    "button.stop": "Stop",
    "button.abandon": "Give up",
    "button.copy": "Copy",
    "button.copied": "Copied",
    "button.save": "Download",
    "button.save.as": "Download as {format}",
    "button.clear": "Clear",
    "button.clear.confirm": "Delete the whole text?",
    "button.retry": "Try now",
    "button.close": "Close this message",
    "button.end": "To the newest text",
    "text.label": "Transcript",
    "text.empty": "The text will appear here",
    "text.empty.help": "Press Start and speak. Grey words may still change, black ones are final.",
    "text.empty.help.dark": "Press Start and speak. Grey words may still change, white ones are final.",
    "text.gap": "[{seconds} s missing: {reason}]",
    "gap.decode_failed": "recognition failed",
    "gap.resume_lost": "sound lost with the connection",
    "gap.unknown": "not recognised",
    "state.idle": "Ready",
    "state.starting": "Waiting for permission…",
    "state.connecting": "Connecting…",
    "state.listening": "Listening",
    "state.speaking": "Hearing speech",
    "state.paused": "The system has paused the sound",
    "state.reconnecting": "Connection lost, reconnecting…",
    "state.retrying": "No connection, still recording",
    "state.loading": "The model is loading…",
    "state.full": "The server is full, waiting for a place…",
    "state.finishing": "Writing the last words…",
    "state.done": "Recording finished",
    "state.failed": "Recording ended early",
    "state.lag": "{seconds} s behind",
    "state.recorded": "Recorded",
    "level.label": "Loudness",
    "notice.retry": "Next try in {seconds} s. Recording goes on: nothing you say is lost.",
    "notice.kept": "{seconds} s of sound not sent yet.",
    "notice.report": "Code: {code}",
    "notice.session": "session {session}",
    "error.unknown": "Something went wrong",
    "error.unknown.help": "Reload the page and start again. If it happens again, tell the administrator the code.",
    "error.not_secure": "No microphone here: the page was not opened over https",
    "error.not_secure.help":
      "Browsers give a microphone only to https:// pages and to http://localhost. Open such an address, or ask the administrator to turn on https.",
    "error.old_browser": "This browser is too old",
    "error.old_browser.help": "It takes Chrome or Edge 89, Firefox 76, Safari 15, or later.",
    "error.microphone_denied": "The microphone was not allowed",
    "error.microphone_denied.help":
      "Click the icon left of the page's address, allow the microphone and press Start again. The system's privacy settings can keep the browser from the microphone too.",
    "error.no_microphone": "No microphone found",
    "error.no_microphone.help": "Connect a microphone or a headset, or choose another source, then press Start.",
    "error.microphone_busy": "The microphone is in use",
    "error.microphone_busy.help": "Close the program that uses it (a call, a recorder) and press Start again.",
    "error.microphone_failed": "The sound could not be started",
    "error.microphone_failed.help": "Try again or choose another source.",
    "error.page_incomplete": "The server does not answer: a part of the page could not be loaded",
    "error.page_incomplete.help": "Check your network and press Start again. If the server is off, wait until it runs.",
    "error.microphone_lost": "The microphone went away",
    "error.microphone_lost.help": "What was recorded is transcribed. Connect the microphone and press Continue.",
    "error.tab_ended": "Sharing has ended",
    "error.tab_ended.help": "What was recorded is transcribed. To go on, press Continue and choose the tab again.",
    "error.tab_denied": "No tab was chosen",
    "error.tab_denied.help": "Press Start and choose the tab or screen whose sound you need.",
    "error.no_tab_audio": "No sound: the tab shared only its picture",
    "error.no_tab_audio.help":
      "Turn on “Also share audio” when you choose the tab. Chrome and Edge can do that; Firefox and Safari do not share a tab's sound.",
    "error.silent_microphone": "The microphone is on, but silent",
    "error.silent_microphone.help": "Check that it is not muted on the headset or in the system, and that the right source is chosen.",
    "error.connection_lost": "The connection to the server was lost",
    "error.connection_lost.help": "Check your network. The page reconnects by itself and goes on where it was.",
    "error.no_answer": "The server does not answer",
    "error.no_answer.help": "The page reconnects by itself and goes on where it was.",
    "error.no_server": "No server found",
    "error.no_server.help": "It may be off, or your network is. The page goes on trying.",
    "error.not_admitted": "The server runs, but takes no connection",
    "error.not_admitted.help":
      "Most often a proxy is in the way: it must pass WebSockets to /ws. The page goes on trying.",
    "error.model_loading": "The server is starting: its model is loading",
    "error.model_loading.help": "That takes up to a minute. The page starts by itself when it is ready.",
    "error.bad_server": "The server's answer makes no sense",
    "error.bad_server.help": "Its version probably does not fit this page. Reload the page (Ctrl+F5).",
    "error.forbidden": "The server refused access",
    "error.forbidden.help": "Ask the administrator to allow this page's address.",
    "error.copy_failed": "Copying failed",
    "error.copy_failed.help": "The browser did not give access to the clipboard. Download the text, or select and copy it yourself.",
    "error.internal_error": "An error on the server",
    "error.internal_error.help": "Press Continue. If it happens again, tell the administrator the code.",
    "error.bad_request": "The server did not accept the request",
    "error.bad_request.help": "Reload the page (Ctrl+F5) and start again.",
    "error.bad_message": "The server did not understand this page",
    "error.bad_message.help": "The page is probably out of date. Reload it (Ctrl+F5) and start again.",
    "error.bad_audio": "The server could not read the sound",
    "error.bad_audio.help": "Reload the page (Ctrl+F5) and start again. If it happens again, tell the administrator the code.",
    "error.unsupported_format": "The server does not have what you chose",
    "error.unsupported_format.help": "Choose another spoken language and start again. If that does not help, reload the page.",
    "error.message_too_big": "The server refused a piece of sound as too big",
    "error.message_too_big.help": "Press Continue. If it happens again, reload the page.",
    "error.unauthorized": "A key is needed",
    "error.unauthorized.help": "This server lets in only those with a key. Open the link with the key that the administrator gave you.",
    "error.forbidden_origin": "The server may not answer this page",
    "error.forbidden_origin.help": "Open the page at the server's main address, or ask the administrator to allow this one.",
    "error.timed_out": "The server closed an idle connection",
    "error.timed_out.help": "No sound came from the page for a long time. Press Continue.",
    "error.server_full": "The server is full",
    "error.server_full.help": "The page starts by itself when a place is free.",
    "error.shutting_down": "The server is restarting",
    "error.shutting_down.help": "The page reconnects by itself and goes on where it was.",
    "error.decode_failed": "Recognition failed",
    "error.decode_failed.help": "Press Continue. If it happens again, tell the administrator the code.",
    "error.model_unavailable": "The speech model is not available",
    "error.model_unavailable.help": "The administrator should run whisperlivekit check on the server.",
    "error.cannot_start": "The server cannot start",
    "error.cannot_start.help": "The administrator should look at the server's log.",
    "error.bad_settings": "The server's settings have an error",
    "error.bad_settings.help": "The administrator should check .env with whisperlivekit check.",
    "error.bad_model_file": "A model file is missing or broken",
    "error.bad_model_file.help": "The administrator should run whisperlivekit models fetch.",
  },
};

/** Languages that Whisper knows; Intl gives their names. */
export const SPOKEN = Object.freeze(
  (
    "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id is it ja jw ka " +
    "kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw " +
    "ta te tg th tk tl tr tt uk ur uz vi yi yo zh"
  ).split(" "),
);

/** What stands first in the choice of spoken languages. */
export const COMMON = Object.freeze(["ru", "en", "uk", "kk", "de", "fr", "es"]);

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
   * @returns {{title: string, help: string}} something for codes that are not known as well
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
